# SPDX-License-Identifier: Apache-2.0
"""What a linked firmware takes in every memory region, part by part.

The ELF file knows output sections, and the linker's map which input section of which object stands
where in them. Input sections carry the part in their name: code generation puts weights into
`.rodata.mcudeploy.weights.SYMBOL`, the arena of a region into `.bss.mcudeploy.arena.REGION` or
`.region.REGION.arena`, and so on. Bytes of an output section that no input section explains are
alignment ("padding"), or the stack's reserve in an output section `.stack`. So the parts of a
region always add up to what the linker placed there, to the byte.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mcudeploy.board import Board
from mcudeploy.errors import BuildError
from mcudeploy.toolchain.elf import FirmwareImage, Section, read_elf


@dataclass(frozen=True)
class LinkedSizes:
    """Bytes by memory region and part.

    Parts in RAM: `arena` (activations and scratch), `state`, `data` and `bss` (the runtime's own),
    `stack`, `padding`. Parts in flash: `weights`, `biases`, `tables` and whatever else code
    generation names so, `code`, `constants` (other read-only data), `data` (initial values),
    `padding`. Regions without any byte are present and empty.
    """

    regions: Mapping[str, Mapping[str, int]]
    code: Mapping[str, int]
    """Bytes of code by object file, for estimates of what a kernel takes."""

    def of(self, region: str, part: str) -> int:
        """The bytes of a part in a region, 0 when there are none."""
        return self.regions[region].get(part, 0)

    def total(self, region: str) -> int:
        """All bytes that the firmware takes of a region."""
        return sum(self.regions[region].values())

    def part(self, part: str) -> int:
        """The bytes of a part in all regions together (`data` counts in RAM and in flash)."""
        return sum(parts.get(part, 0) for parts in self.regions.values())


def linked_sizes(elf: Path, board: Board, *, map_file: Path | None = None) -> LinkedSizes:
    """Read the sizes of a firmware that was linked for `board`.

    The linker's map is expected beside the ELF file. Raises BuildError when it is missing, or when
    a section lies outside of every region of the board.
    """
    image = read_elf(elf)
    inputs = _read_map(map_file or elf.with_suffix(".map"), {s.name for s in image.sections})
    regions: dict[str, dict[str, int]] = {r.name: defaultdict(int) for r in board.memory}
    code: dict[str, int] = defaultdict(int)
    for section in image.sections:
        region = _region(board, section.address, section.name)
        parts: dict[str, int] = defaultdict(int)
        for entry in inputs.get(section.name, ()):
            part = _part(entry.name, section)
            parts[part] += entry.size
            if part == "code":
                code[entry.object] += entry.size
        rest = section.size - sum(parts.values())
        parts["stack" if section.name.startswith(".stack") else "padding"] += rest
        for part, size in parts.items():
            regions[region][part] += size
        stored_in = _load_address(image, section)
        if stored_in is not None and stored_in != section.address:
            regions[_region(board, stored_in, section.name)]["data"] += section.size
    return LinkedSizes(
        {name: {p: n for p, n in sorted(parts.items()) if n} for name, parts in regions.items()},
        dict(sorted(code.items())),
    )


def _region(board: Board, address: int, section: str) -> str:
    for region in board.memory:
        if region.address <= address < region.end:
            return region.name
    raise BuildError(
        f"the linker put section {section} at 0x{address:08x}, where {board.name} has no memory",
        mend="was the firmware built for another board?",
    )


def _load_address(image: FirmwareImage, section: Section) -> int | None:
    """Where the section's bytes are stored; None for a section without bytes."""
    if not section.stored:
        return None
    for segment in image.segments:
        offset = section.address - segment.address
        if 0 <= offset < len(segment.data):
            return segment.load_address + offset
    return None


_NAMED_PARTS = (
    re.compile(r"\.(?:rodata|bss|data)\.mcudeploy\.([a-z_]+)"),
    re.compile(r"\.region\.[a-z0-9_]+\.([a-z_]+)"),
)


def _part(name: str, section: Section) -> str:
    """The part that an input section belongs to."""
    for pattern in _NAMED_PARTS:
        if match := pattern.match(name):
            return match[1]
    if name.startswith(".stack"):
        return "stack"
    if not section.stored:
        return "bss"
    if name.startswith(".data"):
        return "data"
    return "constants" if name.startswith(".rodata") else "code"


@dataclass(frozen=True)
class _Input:
    name: str
    size: int
    object: str


_OUTPUT_LINE = re.compile(r"^([.\w]\S*)(?:\s+0x[0-9a-f]+\s+0x[0-9a-f]+.*)?$")
_INPUT_LINE = re.compile(r"^ (\.\S+|COMMON)\s+0x[0-9a-f]+\s+0x([0-9a-f]+) (\S.*)$")
_LONG_NAME = re.compile(r"^ (\.\S+|COMMON)$")


def _read_map(path: Path, outputs: set[str]) -> dict[str, list[_Input]]:
    """The input sections of each output section that takes memory, from GNU ld's map."""
    found: dict[str, list[_Input]] = defaultdict(list)
    current = ""
    for line in _map_lines(path):
        if match := _INPUT_LINE.match(line):
            if current and (size := int(match[2], 16)):
                found[current].append(_Input(match[1], size, match[3]))
        elif match := _OUTPUT_LINE.match(line):
            current = match[1] if match[1] in outputs else ""
    return found


def _map_lines(path: Path) -> Iterator[str]:
    """The lines of the memory map proper; a name that stands alone is joined to its figures."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BuildError(
            f"the linker's map cannot be read: {error.strerror}",
            where=str(path),
            mend="`mcudeploy build DIR` writes it",
        ) from None
    waiting = ""
    for line in text.partition("\nLinker script and memory map\n")[2].splitlines():
        if _LONG_NAME.match(line):
            waiting = line
            continue
        yield waiting + line
        waiting = ""
