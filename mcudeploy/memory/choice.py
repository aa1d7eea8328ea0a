# SPDX-License-Identifier: Apache-2.0
"""Which kernel computes each operator: the fastest that does not raise the peak.

Kernels of one operator differ in speed, in scratch and in how far their output may lie over their
input. First the peak of the leanest choice is found, kernel by kernel the fewest bytes at its own
step (`choose_lean`). Then every operator is given the fastest kernel that its step can bear within
that peak; if the packing bears them all together, that is the choice. Otherwise they are granted in
halves, and halves of halves, the ones that save the most instructions first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from mcudeploy.graph.ir import Graph
from mcudeploy.memory.bounds import best_overlap
from mcudeploy.memory.geometry import meeting_pairs
from mcudeploy.memory.lifetimes import (
    Layout,
    lifespans,
    make_layout,
    overlap_rules,
    views_of,
)
from mcudeploy.memory.packing import QUICK, Effort, pack
from mcudeploy.memory.problem import Packing
from mcudeploy.operators.base import Implementation

TRIALS = 48
"""Packings tried to grant fast kernels in part."""
_TRIED_PAIRS = 100_000
"""Fewer are tried where so many pairs of buffers meet in all of them together."""


@dataclass(frozen=True)
class _Gain:
    """Bytes that `output` shares with `source`; only if the source dies here, but for a view."""

    output: int
    source: int
    bytes: int
    view: bool


@dataclass
class StepCosts:
    """What each kernel of each operator adds to the bytes that are live at its step."""

    graph: Graph
    candidates: Sequence[Sequence[Implementation]]
    overlap: bool = True
    _gains: list[list[list[_Gain]]] = field(default_factory=list)
    _known: dict[tuple[int, frozenset[int]], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._gains = [
            [_gains(self.graph, step, kernel, self.overlap) for kernel in kernels]
            for step, kernels in enumerate(self.candidates)
        ]

    def extra(self, step: int, number: int, dying: frozenset[int]) -> int:
        """Scratch less what the outputs share with inputs, for kernel `number` of an operator."""
        shared: dict[int, int] = {}
        for gain in self._gains[step][number]:
            if gain.view or gain.source in dying:
                shared[gain.output] = shared.get(gain.output, 0) + gain.bytes
        tensors = self.graph.tensors
        saved = sum(min(tensors[output].bytes, bytes_) for output, bytes_ in shared.items())
        return self.candidates[step][number].scratch_bytes - saved

    def shift(self, step: int, number: int, dying: frozenset[int]) -> int:
        """Bytes by which a kernel keeps its outputs from lying wholly over or in its inputs."""
        tensors = self.graph.tensors
        return sum(
            min(tensors[gain.source].bytes, tensors[gain.output].bytes) - gain.bytes
            for gain in self._gains[step][number]
            if not gain.view and gain.source in dying
        )

    def leanest(self, step: int, dying: frozenset[int]) -> int:
        """The number of the kernel that adds the fewest bytes, the fastest of several."""
        kernels = range(len(self.candidates[step]))
        return min(kernels, key=lambda number: self.extra(step, number, dying))

    def __call__(self, step: int, dying: frozenset[int]) -> int:
        """Bytes that the operator adds to what is live, with its leanest kernel."""
        known = self._known.get((step, dying))
        if known is None:
            operator, tensors = self.graph.operators[step], self.graph.tensors
            made = sum(tensors[o].bytes for o in operator.outputs if not tensors[o].is_variable)
            known = made + self.extra(step, self.leanest(step, dying), dying)
            self._known[step, dying] = known
        return known


def _gains(graph: Graph, step: int, implementation: Implementation, overlap: bool) -> list[_Gain]:
    operator, tensors = graph.operators[step], graph.tensors
    gains = []
    for view in views_of(implementation):
        if view.written and not overlap:
            continue
        source, output = operator.inputs[view.input], operator.outputs[view.output]
        sizes = tensors[source].bytes, tensors[output].bytes
        low, high = max(0, view.distance), min(sizes[0], view.distance + sizes[1])
        gains.append(_Gain(output, source, max(0, high - low), view=not view.written))
    if overlap:
        for (source, output), rules in overlap_rules(graph, step, implementation).items():
            first, second = tensors[source].bytes, tensors[output].bytes
            low = min(-second if highest is None else highest for highest, _ in rules)
            high = max(first if lowest is None else lowest for _, lowest in rules)
            shared = best_overlap(first, second, (max(low, -second), min(high, first)))
            gains.append(_Gain(output, source, shared, view=False))
    return gains


@dataclass(frozen=True, eq=False)
class Choice:
    """One kernel per operator, with the packing problem that this makes and its solution."""

    implementations: tuple[Implementation, ...]
    layout: Layout
    packing: Packing


@dataclass(frozen=True, eq=False)
class Lean:
    """The kernels of least peak (their numbers), packed, and what faster ones are found with."""

    numbers: list[int]
    choice: Choice
    trial: _Trial
    costs: StepCosts
    dying: Sequence[frozenset[int]]
    live: Sequence[int]
    effort: Effort

    def hastened(self) -> Choice:
        """The fastest kernels among those that do not raise the peak."""
        candidates, leanest, best = self.costs.candidates, self.numbers, self.choice
        target = best.packing.height
        wanted = [
            next(
                number
                for number in range(len(kernels))
                if number == leanest[step]
                or self.live[step] + self.costs.extra(step, number, self.dying[step]) <= target
            )
            for step, kernels in enumerate(candidates)
        ]
        faster = [step for step in range(len(candidates)) if wanted[step] != leanest[step]]
        if not faster:
            return best
        saved = {step: _saved(candidates[step], leanest[step], wanted[step]) for step in faster}
        faster.sort(key=lambda step: (-saved[step], step))
        granted = grant(self.trial, leanest, wanted, faster, target, _trials(best))
        if granted == leanest:
            return best
        chosen = self.trial.pack(granted, self.effort)
        if chosen.packing.height <= target:
            return chosen
        return self.trial.pack(granted, QUICK, target)


def choose_lean(
    graph: Graph,
    candidates: Sequence[Sequence[Implementation]],
    alignment: int,
    *,
    overlap: bool,
    effort: Effort,
    most: int | None = None,
) -> Lean:
    """The kernels of least peak, as far as they are found; peaks above `most` are of no use."""
    costs = StepCosts(graph, candidates, overlap)
    dying = _dying(graph)
    leanest = [costs.leanest(step, dying[step]) for step in range(len(candidates))]
    trial = _Trial(graph, candidates, alignment, overlap, most)
    live = _live_without(graph)
    best = trial.pack(leanest, effort)
    leanest, best = _calm(trial, costs, (leanest, best), dying, live, effort)
    alternating = _alternating(candidates, leanest)
    if alternating != leanest:
        other = trial.pack(alternating, effort)
        if other.packing.height < best.packing.height:
            leanest, best = alternating, other
    if not best.packing.optimal:
        # Fewer live bytes may be harder to pack, and views tie buffers together.
        fastest = [0] * len(candidates)
        other = trial.pack(fastest, QUICK)
        if other.packing.height < best.packing.height:
            leanest, best = fastest, other
    return Lean(leanest, best, trial, costs, dying, live, effort)


def _trials(choice: Choice) -> int:
    """How many packings of such a network are worth their time."""
    pairs = len(meeting_pairs(choice.layout.problem))
    return min(TRIALS, max(3, _TRIED_PAIRS // max(pairs, 1)))


def _alternating(
    candidates: Sequence[Sequence[Implementation]], chosen: Sequence[int]
) -> list[int]:
    """The choice with every other kernel going backwards where one can: drifts cancel."""
    made = list(chosen)
    backwards = False
    for step, kernels in enumerate(candidates):
        for number, kernel in enumerate(kernels):
            rules = kernel.overlaps
            if rules and all(r.max_distance is None and r.min_distance is not None for r in rules):
                if backwards:
                    made[step] = number
                backwards = not backwards
                break
    return made


def _calm(
    trial: _Trial,
    costs: StepCosts,
    known: tuple[list[int], Choice],
    dying: Sequence[frozenset[int]],
    live: Sequence[int],
    effort: Effort,
) -> tuple[list[int], Choice]:
    """Kernels that shift less, if the packing gets lower by them; by bisection over the peak."""
    leanest, best = known
    steps = range(len(leanest))
    low = max((live[s] + costs.extra(s, leanest[s], dying[s]) for s in steps), default=0)
    high = best.packing.height
    tries = _trials(best)
    # An alignment unit more or less is not worth the search.
    while high - low > max(16, high // 200) and tries:
        tries -= 1
        middle = (low + high) // 2
        calmer = [
            min(
                (n for n in range(len(costs.candidates[s]))
                 if n == leanest[s] or live[s] + costs.extra(s, n, dying[s]) <= middle),
                key=lambda n, s=s: (costs.shift(s, n, dying[s]), n),  # type: ignore[misc]
            )
            for s in steps
        ]  # fmt: skip
        tried = trial.pack(calmer, QUICK, middle) if calmer != leanest else best
        if tried.packing.height < best.packing.height:
            leanest, best = calmer, tried
            high = min(middle, tried.packing.height)
        else:
            low = middle
    if best is not known[1]:
        thorough = trial.pack(leanest, effort)
        best = thorough if thorough.packing.height <= best.packing.height else best
    return leanest, best


def grant(
    trial: Trial,
    leanest: list[int],
    wanted: list[int],
    steps: list[int],
    target: int,
    most: int = TRIALS,
) -> list[int]:
    """The kernels after granting the faster ones for as many of `steps` as `target` bears."""
    current = list(leanest)
    queue, trials = [steps], 0
    while queue and trials < most:
        group = queue.pop(0)
        asked = list(current)
        for step in group:
            asked[step] = wanted[step]
        trials += 1
        if trial.pack(asked, QUICK, target).packing.height <= target:
            current = asked
        elif len(group) > 1:
            half = len(group) // 2
            queue[:0] = [group[:half], group[half:]]
    return current


class Trial(Protocol):
    """Packs a network with the kernels of these numbers."""

    def pack(self, numbers: Sequence[int], effort: Effort, capacity: int | None = None) -> Choice:
        """As high as `capacity` at most, where that can be."""


@dataclass(frozen=True)
class _Trial:
    """Packs a network with the kernels of given numbers, the same only once."""

    graph: Graph
    candidates: Sequence[Sequence[Implementation]]
    alignment: int
    overlap: bool
    most: int | None
    _known: dict[tuple[tuple[int, ...], Effort, int | None], Choice] = field(default_factory=dict)

    def pack(self, numbers: Sequence[int], effort: Effort, capacity: int | None = None) -> Choice:
        asked = tuple(numbers), effort, capacity
        if asked not in self._known:
            chosen = tuple(c[n] for c, n in zip(self.candidates, numbers, strict=True))
            layout = make_layout(self.graph, chosen, self.alignment, overlap=self.overlap)
            problem = replace(layout.problem, capacity=capacity)
            self._known[asked] = Choice(chosen, layout, pack(problem, effort, self.most))
        return self._known[asked]


def _saved(kernels: Sequence[Implementation], slow: int, fast: int) -> float:
    """Cycles saved, or instructions, where both kernels state theirs."""
    one, other = kernels[slow], kernels[fast]
    if one.cycles is not None and other.cycles is not None:
        return one.cycles - other.cycles
    before, after = one.instructions, other.instructions
    return before - after if before is not None and after is not None else 0.0


def _dying(graph: Graph) -> list[frozenset[int]]:
    """Per step, the inputs that are not needed after it."""
    spans = lifespans(graph)
    return [
        frozenset(
            i for i in operator.inputs
            if i in spans and spans[i][1] == step + 1 and i not in graph.outputs
        )
        for step, operator in enumerate(graph.operators)
    ]  # fmt: skip


def _live_without(graph: Graph) -> list[int]:
    """Per step, the bytes of all tensors that are live, each counted in full."""
    live = [0] * len(graph.operators)
    for index, (start, end) in lifespans(graph).items():
        for step in range(start, min(end, len(live))):
            live[step] += graph.tensors[index].bytes
    return live
