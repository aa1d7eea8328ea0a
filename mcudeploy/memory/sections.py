# SPDX-License-Identifier: Apache-2.0
"""Time without what does not matter: only the moments at which a largest set is alive.

A moment whose live buffers are all alive at another moment too asks nothing that the other does
not ask. What remains are the maximal sets of buffers that are alive together; counted through,
they are the new time. Packings of the two problems are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from mcudeploy.memory.problem import Buffer


def compressed_spans(buffers: Sequence[Buffer]) -> list[tuple[int, int]]:
    """The lifespan of each buffer in maximal live sets, half-open; (0, 0) for one never alive."""
    alive = [i for i, b in enumerate(buffers) if b.start < b.end]
    # At one moment buffers end before others start: lifespans are half-open.
    events = sorted(
        [(buffers[i].start, 1, i) for i in alive] + [(buffers[i].end, 0, i) for i in alive]
    )
    first = [0] * len(buffers)
    spans = [(0, 0)] * len(buffers)
    section, grown = 0, False
    for _, starts, index in events:
        if starts:
            first[index] = section
            grown = True
        else:
            # The first end after a start closes a maximal set.
            section += grown
            grown = False
            spans[index] = (first[index], section)
    return spans


def live_sets(spans: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Per section, the buffers alive in it."""
    sets: list[list[int]] = [[] for _ in range(max((end for _, end in spans), default=0))]
    for index, (start, end) in enumerate(spans):
        for section in range(start, end):
            sets[section].append(index)
    return sets
