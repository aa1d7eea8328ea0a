# SPDX-License-Identifier: Apache-2.0
"""How one strided box of bytes is copied on a core: the C text, and its work for `costs.py`.

Dimensions that lie together on both sides are merged, and what is contiguous on both becomes a run
of bytes. Then the length of a run decides:

- all of the box: memcpy, which compilers do in line up to 64 bytes;
- more than 23 bytes, or a core that loads words from multiples of four alone: a memcpy for each
  run, by firmware/kernels/copy_box.c;
- 4 to 23 bytes: words, by firmware/kernels/copy_short.c;
- 1 to 3 bytes: loads and stores at constant offsets, by firmware/kernels/copy_column.h.

Nothing is copied onto itself, so the dimensions may be walked in any order: words walk the longest
one innermost, bytes the one that leaves the fewest rounds of loops.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcudeploy.operators.base import Target

_LOOPS = 4
_INLINE_BYTES = 64
LONGEST_SHORT_RUN = 23
_MEMCPY_WORDS_BYTES = 16
"""From here on the C library's memcpy takes words at a time."""
_COLUMN_RUNS = 16
"""As MCUD_COLUMN_RUNS."""
_FARTHEST, _FARTHEST_BACK = 4095, 255
"""The largest offsets of a load or store of a byte."""
_WORD_BYTES = 4
_STRAIGHT_RUNS = 32
"""As many loads and stores, of a word or less each, are copied without a loop."""
_COPY_BYTES = 8
"""Code of a load and a store."""

_BOX = """\
static const mcud_box_t {name} = {{
    .extent = {{ {extent} }},
    .in_stride = {{ {in_stride} }},
    .out_stride = {{ {out_stride} }},
    .run = {run},
}};
"""

Loop = tuple[int, int, int]
"""Extent, input stride, output stride, both in bytes."""


@dataclass(frozen=True)
class Box:
    """Extents in elements; strides and starts in bytes. Strides may be 0 or negative.

    The box is read from an input, or with `within_output` from the output itself.
    """

    extent: tuple[int, ...]
    in_strides: tuple[int, ...]
    out_strides: tuple[int, ...]
    in_start: int = 0
    out_start: int = 0
    input: int = 0
    output: int = 0
    within_output: bool = False


@dataclass(frozen=True)
class BoxCopy:
    """C statements that copy a box, and what they call."""

    text: str
    work: Mapping[str, float]
    headers: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    code_bytes: int = 0
    """Of what is inlined, about."""


def merged(box: Box, element_bytes: int) -> tuple[list[Loop], int]:
    """The loops that are left, outermost first, and the run."""
    dims = [d for d in zip(box.extent, box.in_strides, box.out_strides, strict=True) if d[0] != 1]
    run = element_bytes
    while dims and dims[-1][1] == dims[-1][2] == run:
        run *= dims.pop()[0]
    loops: list[Loop] = []
    for extent, in_stride, out_stride in dims:
        if loops and loops[-1][1:] == (extent * in_stride, extent * out_stride):
            loops[-1] = (loops[-1][0] * extent, in_stride, out_stride)
        else:
            loops.append((extent, in_stride, out_stride))
    return loops, run


def copied(
    name: str, box: Box, element_bytes: int, pointers: tuple[str, str], target: Target
) -> BoxCopy:
    """How a box is copied; `pointers` are expressions of the input's and the output's bytes."""
    source, sink = _plus(pointers[0], box.in_start), _plus(pointers[1], box.out_start)
    loops, run = merged(box, element_bytes)
    if not loops:
        return _one_run(box, run, source, sink)
    if copies_columns(run, target):
        return _column(loops, run, source, sink)
    short = _by_words(target) and run <= LONGEST_SHORT_RUN
    if short:
        loops.sort()
    kernel = "copy_short" if short else "copy_box"
    outer, inner = loops[: max(0, len(loops) - _LOOPS)], loops[-_LOOPS:]
    inner = [(1, 0, 0)] * (_LOOPS - len(inner)) + inner
    columns = [", ".join(str(d[i]) for d in inner) for i in range(3)]
    text = _BOX.format(
        name=name, extent=columns[0], in_stride=columns[1], out_stride=columns[2], run=run
    )
    text += _nested(outer, source, sink, [f"mcud_{kernel}(&{name}, {{0}}, {{1}});"])
    work = _short_work(loops, run) if short else _long_work(box, loops, run)
    return BoxCopy(text, work, (f"{kernel}.h",), (f"kernels/{kernel}.c",))


def _by_words(target: Target) -> bool:
    """Words are loaded from any address (from ARMv7-M on), and code may grow for it."""
    return target.core.dwt and target.optimize != "size"


def straight_runs(count: int, run: int, target: Target) -> bool:
    """As many runs from anywhere are copied one by one, each in a line of its own."""
    pieces = count * -(-run // _WORD_BYTES)
    return _by_words(target) and run <= 2 * _WORD_BYTES and pieces <= _STRAIGHT_RUNS


def straight_work(times: int, count: int, run: int) -> dict[str, float]:
    """A word is loaded and stored as a byte is."""
    words, rest = divmod(run, _WORD_BYTES)
    pieces = {"column run of 1": words * times * count}
    if rest:
        key = f"column run of {rest}"
        pieces[key] = pieces.get(key, 0) + times * count
    return {"column box": 1, "column": times, **pieces}


def copies_columns(run: int, target: Target) -> bool:
    """Runs are copied by mcud_copy_column."""
    return _by_words(target) and run < _WORD_BYTES


def _plus(pointer: str, offset: int) -> str:
    return f"{pointer} + {offset}" if offset else pointer


def _nested(loops: Sequence[Loop], source: str, sink: str, calls: Sequence[str]) -> str:
    """Statements within loops; in each, {0} and {1} are places for the two pointers."""
    text = ""
    for depth, (extent, in_stride, out_stride) in enumerate(loops):
        text += f"{'    ' * depth}for (int32_t i{depth} = 0; i{depth} < {extent}; i{depth}++)\n"
        source, sink = f"{source} + i{depth} * {in_stride}", f"{sink} + i{depth} * {out_stride}"
    indent = "    " * len(loops)
    lines = [call.format(source, sink) for call in calls]
    if len(calls) > 1 and loops:
        outer = indent[4:]
        return text + "\n".join([f"{outer}{{", *(indent + line for line in lines), f"{outer}}}"])
    return text + "\n".join(indent + line for line in lines)


def _one_run(box: Box, run: int, source: str, sink: str) -> BoxCopy:
    work: dict[str, float] = {"box": 1, **_words("long", box, [], run)}
    if run <= _INLINE_BYTES:
        work = {"inline box": 1, "inline words": run // 4, "inline rest": (0, 1, 1, 2)[run % 4]}
    return BoxCopy(f"memcpy({sink}, {source}, {run});", work)


def _words(length: str, box: Box, loops: Sequence[Loop], run: int) -> dict[str, float]:
    """What memcpy moves in all runs; it is faster where all begin at multiples of four."""
    runs = math.prod(extent for extent, _, _ in loops)
    steps = [box.in_start, box.out_start, *(step for loop in loops for step in loop[1:])]
    aligned = "" if any(step % 4 for step in steps) else " aligned"
    return {f"{length}{aligned} words": runs * (run // 4), f"{length} rest": runs * (run % 4)}


def _long_work(box: Box, loops: Sequence[Loop], run: int) -> dict[str, float]:
    work: dict[str, float] = {
        "box": 1,
        "loop": math.prod(extent for extent, _, _ in loops[:-1]),
        "byte" if run == 1 else "run": math.prod(extent for extent, _, _ in loops),
    }
    if run == 1:
        return work
    length = "short" if run < _MEMCPY_WORDS_BYTES else "long"
    return {**work, **_words(length, box, loops, run)}


def _short_work(loops: Sequence[Loop], run: int) -> dict[str, float]:
    """Planes are the two innermost dimensions; a run costs by its number of words."""
    return {
        "short box": 1,
        "short plane": math.prod(extent for extent, _, _ in loops[:-2]),
        "short loop": math.prod(extent for extent, _, _ in loops[:-1]),
        f"run of {-(-run // _WORD_BYTES)} words": math.prod(extent for extent, _, _ in loops),
    }


def _far(loop: Loop) -> bool:
    """The offsets of a part of a column do not go into instructions."""
    return any(
        abs(step) * (_COLUMN_RUNS - 1) > (_FARTHEST if step > 0 else _FARTHEST_BACK)
        for step in loop[1:]
    )


def _beside(inner: Loop, loops: Sequence[Loop]) -> Loop:
    """The second dimension of a column without a loop."""
    others = [loop for loop in loops if loop is not inner]
    return max((o for o in others if o[0] * inner[0] <= _STRAIGHT_RUNS), default=(1, 0, 0))


def _rounds(inner: Loop, loops: Sequence[Loop]) -> int:
    """How often loops go round when `inner` is the column; to begin one costs a round more."""
    columns = math.prod(loop[0] for loop in loops) // inner[0]
    return 2 * columns // _beside(inner, loops)[0] + columns * (inner[0] // _COLUMN_RUNS)


def _column(loops: Sequence[Loop], run: int, source: str, sink: str) -> BoxCopy:
    """Few bytes: columns of one dimension, one after the other for a second where both are short.

    The dimension is one whose offsets are near, with the fewest rounds of loops.
    """
    inner = min(loops, key=lambda loop: (_far(loop), _rounds(loop, loops), -loop[0]))
    beside = _beside(inner, loops)
    outer = [loop for loop in loops if loop is not inner and loop is not beside]
    extent, in_stride, out_stride = inner
    columns = [
        f"mcud_copy_column({_plus('{0}', i * beside[1])}, {_plus('{1}', i * beside[2])}, "
        f"{extent}, {in_stride}, {out_stride}, {run});"
        for i in range(beside[0])
    ]
    return BoxCopy(
        _nested(outer, source, sink, columns),
        column_work(math.prod(loop[0] for loop in outer), inner, run, beside[0]),
        ("copy_column.h",),
        ("kernels/copy_column.h",),
        beside[0] * column_code_bytes(extent, run),
    )


def column_code_bytes(count: int, run: int) -> int:
    """About what mcud_copy_column takes where it is inlined."""
    inline = (_COLUMN_RUNS if count >= _COLUMN_RUNS else 0) + count % _COLUMN_RUNS
    return inline * (_COPY_BYTES if run in (1, 2, _WORD_BYTES) else 2 * _COPY_BYTES)


def column_work(times: int, loop: Loop, run: int, beside: int = 1) -> dict[str, float]:
    """The work of a loop with as many columns `beside` each other."""
    columns = times * beside
    return {
        "column box": 1,
        "column": times,
        "column part": columns * (loop[0] // _COLUMN_RUNS),
        f"column run of {run}": columns * loop[0],
    }
