# SPDX-License-Identifier: Apache-2.0
"""Packing problems as CSV: `id,lower,upper,size`, and with `offset` as a last column when solved.

`lower` and `upper` are the half-open lifespan of a buffer, `size` its bytes: the format of the
published benchmark instances of this problem.
"""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

from mcudeploy.errors import InputError
from mcudeploy.files import read_file, write_file
from mcudeploy.memory.packing import THOROUGH, pack
from mcudeploy.memory.problem import Buffer, Packing, Problem

COLUMNS = ("id", "lower", "upper", "size")
_MEND = "the first line is id,lower,upper,size; then one buffer a line, whole numbers"


def read_csv(path: Path, alignment: int = 1) -> Problem:
    """The buffers of a CSV file. Raises InputError that names the line and the fault."""
    try:
        text = io.StringIO(read_file(path).decode("utf-8-sig"), newline="")
        rows = csv.DictReader(text, skipinitialspace=True)
        missing = [c for c in COLUMNS if c not in (rows.fieldnames or ())]
        if missing:
            raise InputError(f"the file has no column {missing[0]!r}", where=str(path), mend=_MEND)
        return Problem(tuple(_buffer(row, alignment, f"{path}:{rows.line_num}") for row in rows))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"the file is no CSV: {error}", where=str(path), mend=_MEND) from None


def _buffer(row: dict[str, str], alignment: int, where: str) -> Buffer:
    try:
        lower, upper, size = (int(row[column]) for column in COLUMNS[1:])
    except (TypeError, ValueError):
        raise InputError("a number is missing or not whole", where=where, mend=_MEND) from None
    if upper <= lower or size < 0 or max(abs(lower), abs(upper), size) >= 1 << 40:
        raise InputError(
            f"a buffer of {size} bytes from {lower} to {upper} makes no sense",
            where=where,
            mend="upper lies above lower, sizes are not negative",
        )
    return Buffer(row["id"], size, lower, upper, alignment)


def write_csv(path: Path, problem: Problem, packing: Packing) -> None:
    """The problem with the offsets of a packing. Raises InputError where it cannot be written."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow((*COLUMNS, "offset"))
    for buffer, offset in zip(problem.buffers, packing.offsets, strict=True):
        rows.writerow((buffer.name, buffer.start, buffer.end, buffer.size, offset))
    write_file(path, text.getvalue().encode())


def pack_csv(
    path: Path, capacity: int | None = None, *, alignment: int = 1, output: Path | None = None
) -> Packing:
    """Pack the buffers of a CSV file within `capacity` bytes, or as low as possible.

    The packing found may be higher than `capacity`: compare its `height`. With `output` the file
    is written with the offsets. Raises InputError for an unreadable file.
    """
    problem = replace(read_csv(path, alignment), capacity=capacity)
    packing = pack(problem, THOROUGH)
    if output is not None:
        write_csv(output, problem, packing)
    return packing
