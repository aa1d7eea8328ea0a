# SPDX-License-Identifier: Apache-2.0
"""Moving elements costs a memcpy of their bytes and at most two instructions an element more.

Counted on Cortex-M4F for every operator that moves elements, along every axis, over maps of 1 to
64 channels. Operators that are views cost nothing at all. A part of SPLIT and UNPACK is a SLICE.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from cost_layers import count_instructions
from movement_layers import layer, memcpy, of_map

from mcudeploy.board import CORES

CORE = CORES["cortex-m4f"]
CALL_INSTRUCTIONS = 60

Map = tuple[int, int, int]
EVERY_CHANNELS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 16, 17, 24, 32, 37, 48, 64)


def dear(maps: Iterable[Map]) -> list[str]:
    """What costs more than it may."""
    random = np.random.default_rng(5)
    named = [(name, shape, move) for shape in maps for name, move in of_map(*shape)]
    cases = [layer(move, CORE) for *_, move in named]
    sizes = [one.graph.tensors[one.graph.outputs[0]].bytes for one, _ in cases]
    different = sorted(set(sizes))
    counts = count_instructions([*cases, *map(memcpy, different)], CORE, random)
    copies = dict(zip(different, counts[len(cases) :], strict=True))
    return [
        f"{name} of {shape}, {size} bytes: {count} instructions, memcpy {copies[size]}"
        for (name, shape, _), size, count in zip(named, sizes, counts, strict=False)
        if count > copies[size] + 2 * size + CALL_INSTRUCTIONS
    ]


def test_elements_move_for_a_memcpy_and_two_instructions_each():
    faults = dear((9, 11, channels) for channels in (1, 3, 7, 16))
    assert not faults, "\n".join(faults)


@pytest.mark.slow(reason="counts 44 ways to move each of 54 maps")
@pytest.mark.parametrize("size", [(7, 7), (9, 11), (16, 12)], ids=str)
def test_maps_of_any_channels_move_for_a_memcpy_and_two_instructions_an_element(
    size: tuple[int, int],
):
    faults = dear((*size, channels) for channels in EVERY_CHANNELS)
    assert not faults, "\n".join(faults)
