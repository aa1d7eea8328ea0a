# SPDX-License-Identifier: Apache-2.0
"""The order of execution in which the most bytes that are live at once are the fewest.

What is live depends only on the set of operators that have run, so the search is over such sets,
each reached at the least peak possible: a best-first search (Dijkstra's, with the maximum in place
of the sum), which takes the set of lowest peak first and of these the one with most operators run.
The first time that all have run, the order is optimal.

Two things keep it small. An operator that is ready, whose own step stays within the peak so far,
and that frees at least as much as it makes, is run at once: no order is better for waiting. And
the peak is at least that of the hungriest step on its own, so nothing below that is told apart.

The bytes of a step are all live tensors, the operator's outputs and scratch, less what its outputs
may share with inputs that die there. They are those of the packing's lower bound; views that save
copies are counted where they save them. Once it has run WORK operators the search narrows to a beam
that may run as many again: the order is then the best found. Its proven bound is the lowest peak
still open, or what must be live at some step in any order (`_floors`): what operators before it
have made for those after it, and all outputs at the end. That is not where the search begins: an
order that stays low for long is packed lower than one that fills up early to the same peak.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mcudeploy.graph.ir import Graph

WORK = 60_000
"""Operators run, in trial, before the search narrows to a beam; some tenths of a second."""
BEAM = 64

OWN_ORDER = "the file's order, which no order betters"

StepCost = Callable[[int, frozenset[int]], int]
"""Bytes that operator `step` adds to what is live, given which of its inputs die at it."""


@dataclass(frozen=True)
class Order:
    """Positions in `Graph.operators` in the order to run; bytes live at the peak, and its bound."""

    steps: tuple[int, ...]
    peak_bytes: int
    lower_bound_bytes: int
    method: str


class _State(NamedTuple):
    """Sets of operators as bits: those that have run, those that can; and the bytes live."""

    done: int
    ready: int
    live: int


class _Network:
    """A graph as bit sets: operators are bits, and so are the consumers of a tensor."""

    def __init__(self, graph: Graph, cost: StepCost) -> None:
        self.count = len(graph.operators)
        self.cost = cost
        self.work = 0
        activations = {
            i for i in graph.activations() if not graph.tensors[i].is_variable
        }  # fmt: skip
        self.size = {i: graph.tensors[i].bytes for i in activations}
        self.reads = [tuple(sorted(activations & set(o.inputs))) for o in graph.operators]
        self.writes = [tuple(sorted(activations & set(o.outputs))) for o in graph.operators]
        self.readers = dict.fromkeys(activations, 0)
        makers: dict[int, int] = {}
        for step in range(self.count):
            for tensor in self.reads[step]:
                self.readers[tensor] |= 1 << step
            makers.update(dict.fromkeys(self.writes[step], step))
        self.needs = [
            sum({1 << makers[t] for t in self.reads[s] if t in makers}) for s in range(self.count)
        ]
        self._state_order(graph)
        self.children: list[list[int]] = [[] for _ in range(self.count)]
        for step, needed in enumerate(self.needs):
            for parent in _bits(needed):
                self.children[parent].append(step)
        self.kept = {i for i in graph.outputs if i in activations}
        self.always = sum(
            graph.tensors[i].bytes for i in graph.activations() if graph.tensors[i].is_variable
        )
        self.given = {i for i in set(graph.inputs) & activations if self.stays(i)}
        first = sum(1 << s for s in range(self.count) if not self.needs[s])
        self.start = _State(0, first, self.always + sum(self.size[i] for i in self.given))
        self._for_speed()

    def _for_speed(self) -> None:
        """What `run` asks of each operator, so that it need not look it up."""
        self._wakes = [[(1 << c, self.needs[c]) for c in children] for children in self.children]
        self._made = [sum(self.size[t] for t in w if self.stays(t)) for w in self.writes]
        self._may_die = [
            [(1 << n, self.size[t], self.readers[t]) for n, t in enumerate(reads)
             if t not in self.kept]
            for reads in self.reads
        ]  # fmt: skip
        self._adds: list[dict[int, int]] = [{} for _ in range(self.count)]

    def stays(self, tensor: int) -> bool:
        """The tensor is live after its maker has run."""
        return tensor in self.kept or self.readers[tensor] != 0

    def _state_order(self, graph: Graph) -> None:
        """Operators that share state keep their order."""
        last: dict[int, int] = {}
        for step, operator in enumerate(graph.operators):
            for tensor in {*operator.inputs, *operator.outputs}:
                if tensor >= 0 and graph.tensors[tensor].is_variable:
                    if tensor in last:
                        self.needs[step] |= 1 << last[tensor]
                    last[tensor] = step

    def adds(self, step: int, dying: int) -> int:
        """Bytes that a step adds to what is live, if these of its inputs (bits) die at it."""
        known = self._adds[step].get(dying)
        if known is None:
            known = self.cost(step, frozenset(self.reads[step][n] for n in _bits(dying)))
            self._adds[step][dying] = known
        return known

    def run(self, state: _State, step: int) -> tuple[int, _State]:
        """Bytes live during a step, and what is after it."""
        self.work += 1
        done, ready, live = state
        done |= 1 << step
        missing = ~done
        dying = freed = 0
        for bit, size, readers in self._may_die[step]:
            if not readers & missing:
                dying |= bit
                freed += size
        ready &= ~(1 << step)
        for child, needed in self._wakes[step]:
            if not needed & missing:
                ready |= child
        during = live + self.adds(step, dying)
        return during, _State(done, ready, live - freed + self._made[step])


def _bits(mask: int) -> Iterator[int]:
    while mask:
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1


def best_order(graph: Graph, cost: StepCost) -> Order:
    """The order of least peak under `cost`; the graph's own order if none is lower."""
    network = _Network(graph, cost)
    own = tuple(range(network.count))
    peak = _peak(network, own)
    alone, floor = _floors(network)
    if peak <= floor or _is_chain(network):
        return Order(own, peak, peak, OWN_ORDER)
    steps, found, bound = _search(network, alone, peak)
    bound = max(bound, floor)
    if steps is None:
        proof = OWN_ORDER if bound >= peak else "the file's order, no better one was found"
        return Order(own, peak, bound, proof)
    proof = "reordered, optimal" if bound >= found else "reordered, the best found"
    return Order(steps, found, bound, proof)


def peak_of(graph: Graph, steps: Sequence[int], cost: StepCost) -> int:
    """Most bytes live at once in a given order."""
    return _peak(_Network(graph, cost), steps)


def _peak(network: _Network, steps: Sequence[int]) -> int:
    state, peak = network.start, network.start.live
    for step in steps:
        during, state = network.run(state, step)
        peak = max(peak, during)
    return peak


def _is_chain(network: _Network) -> bool:
    state = network.start
    for step in range(network.count):
        if state.ready & (state.ready - 1):
            return False
        _, state = network.run(state, step)
    return True


def _floors(network: _Network) -> tuple[int, int]:
    """Bytes of the hungriest step by itself, and bytes that any order has live at some step.

    At each step there is at least what operators before it have made for it or for those after
    it; at the last step, whichever that is, there are all outputs but its own.
    """
    place = {tensor: n for n, tensor in enumerate(network.size)}

    def bits(tensors: Iterable[int]) -> int:
        return sum(1 << place[t] for t in tensors)

    sizes, kept = list(network.size.values()), bits(network.kept)
    reads = [bits(tensors) for tensors in network.reads]
    writes = [bits(filter(network.stays, tensors)) for tensors in network.writes]
    made = [bits(network.given)] * network.count
    wanted = [kept] * network.count
    for step in range(network.count):
        for child in network.children[step]:
            made[child] |= made[step] | writes[step]
    for step in reversed(range(network.count)):
        for child in network.children[step]:
            wanted[step] |= wanted[child] | reads[child]

    def least(step: int, live: int, after: int) -> int:
        tensors = enumerate(network.reads[step])
        dying = sum(1 << n for n, t in tensors if not after >> place[t] & 1)
        waiting = sum(sizes[n] for n in _bits(live))
        return network.always + waiting + network.adds(step, dying)

    steps = range(network.count)
    alone = [least(s, reads[s], kept) for s in steps]
    within = [least(s, made[s] & (wanted[s] | reads[s]), wanted[s]) for s in steps]
    last = [least(s, reads[s] | kept & ~writes[s], kept) for s in steps if not network.children[s]]
    begin = network.start.live
    return max([begin, *alone]), max([begin, *within, min(last, default=0)])


def _search(network: _Network, start: int, ceiling: int) -> tuple[tuple[int, ...] | None, int, int]:
    """An order with a peak below `ceiling` (None: none found), its peak, and the proven bound."""
    full = (1 << network.count) - 1
    best = {0: start}
    came: dict[int, tuple[int, tuple[int, ...]]] = {}
    heap = [(start, 0, network.start)]
    closed: set[int] = set()
    while heap:
        peak, _, state = heapq.heappop(heap)
        if state.done == full:
            return _trace(came, full), peak, peak
        if state.done in closed:
            continue
        if network.work >= WORK:
            steps, found = _beam(network, start, ceiling)
            return steps, found, peak
        closed.add(state.done)
        for reached, after, taken in _successors(network, state, peak, ceiling):
            if reached < best.get(after.done, ceiling):
                best[after.done] = reached
                came[after.done] = (state.done, taken)
                heapq.heappush(heap, (reached, -after.done.bit_count(), after))
    return None, ceiling, ceiling


def _successors(
    network: _Network, state: _State, peak: int, ceiling: int
) -> Iterator[tuple[int, _State, tuple[int, ...]]]:
    """Peak, state and operators run, for each operator that may come next."""
    for step in _bits(state.ready):
        during, after = network.run(state, step)
        reached = max(peak, during)
        if reached < ceiling:
            after, free = _settle(network, after, reached)
            yield reached, after, (step, *free)


def _settle(network: _Network, state: _State, peak: int) -> tuple[_State, list[int]]:
    """Run whatever costs nothing: no higher peak, and not more live after it than before."""
    taken: list[int] = []
    waiting = state.ready
    while waiting:
        step = (waiting & -waiting).bit_length() - 1
        waiting &= waiting - 1
        during, after = network.run(state, step)
        if during <= peak and after.live <= state.live:
            taken.append(step)
            # What it freed may let others run for nothing that could not before.
            state, waiting = after, after.ready
    return state, taken


def _beam(network: _Network, start: int, ceiling: int) -> tuple[tuple[int, ...] | None, int]:
    """The best order found by keeping the BEAM best sets of each number of operators run."""
    layers: dict[int, dict[int, tuple[int, _State, tuple[int, ...]]]] = {
        0: {0: (start, network.start, ())}
    }
    begun = network.work
    for count in range(network.count):
        reached_sets = layers.pop(count, {}).values()
        kept = sorted(reached_sets, key=lambda entry: (entry[0], entry[1].live, entry[1].done))
        share = begun + WORK * (count + 1) // network.count
        for position, (peak, state, steps) in enumerate(kept[:BEAM]):
            if position and network.work >= share:
                break
            for reached, after, taken in _successors(network, state, peak, ceiling):
                layer = layers.setdefault(after.done.bit_count(), {})
                if after.done not in layer or reached < layer[after.done][0]:
                    layer[after.done] = (reached, after, (*steps, *taken))
    final = layers.get(network.count, {}).get((1 << network.count) - 1)
    return (final[2], final[0]) if final else (None, ceiling)


def _trace(came: dict[int, tuple[int, tuple[int, ...]]], done: int) -> tuple[int, ...]:
    steps: list[int] = []
    while done:
        done, taken = came[done]
        steps[:0] = taken
    return tuple(steps)
