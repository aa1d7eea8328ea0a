# SPDX-License-Identifier: Apache-2.0
"""The checker finds every fault that is put into a sound plan, and nothing in a sound one."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from memory_graphs import IN_PLACE, kernel, make_board, make_graph, random_network

from mcudeploy.memory.checker import check_plan
from mcudeploy.memory.packing import QUICK
from mcudeploy.memory.plan import Placement, Plan
from mcudeploy.memory.planner import PlanOptions, make_plan
from mcudeploy.operators.base import OverlapRule

Mutation = Callable[[random.Random, Plan], Plan | None]


@cache
def random_plan(seed: int) -> Plan:
    graph, candidates = random_network(seed, 6 + seed % 10)
    return make_plan(graph, candidates, make_board(), options=PlanOptions(effort=QUICK))


def moved(places: Mapping[int, Placement], key: int, offset: int) -> dict[int, Placement]:
    return {**places, key: replace(places[key], offset=offset)}


def with_honest_claims(plan: Plan) -> Plan:
    """The plan with peak and live bytes recomputed, so that only its addresses are at fault."""
    from mcudeploy.memory.checker import _live_bytes

    places = [*plan.tensors.values(), *plan.state.values(), *plan.scratch.values()]
    reach = max(p.offset + p.bytes for p in places)
    live = _live_bytes(plan)
    certificate = replace(
        plan.certificate,
        peak_bytes=reach,
        peak_step=live.index(max(live)),
        lower_bound_bytes=min(plan.certificate.lower_bound_bytes, reach),
    )
    arenas = {"sram": -(-reach // 16) * 16}
    return replace(plan, certificate=certificate, live_bytes=live, arenas=arenas)


def onto_a_live_neighbour(rng: random.Random, plan: Plan) -> Plan | None:
    """A tensor is moved by one unit into another that is alive with it and may not be shared."""
    tensors = [i for i in plan.tensors if plan.tensors[i].bytes]
    rng.shuffle(tensors)
    for a in tensors:
        for step in [-4, 4]:
            trial = with_honest_claims(
                replace(plan, tensors=moved(plan.tensors, a, plan.tensors[a].offset + step))
            )
            if plan.tensors[a].offset + step >= 0 and breaks_a_neighbour(trial, a):
                return trial
    return None


def breaks_a_neighbour(plan: Plan, a: int) -> bool:
    """One is written over the other, which is still to be read; and neither is part of a view."""
    graph = plan.graph
    viewed = {
        tensor
        for operator, implementation in zip(graph.operators, plan.implementations, strict=True)
        for tensor in (*operator.inputs, *operator.outputs)
        if implementation.kernel in ("none", "views")
    }

    def life(tensor: int) -> tuple[int, int]:
        uses = [
            s for s, o in enumerate(graph.operators) if tensor in o.inputs or tensor in o.outputs
        ]
        uses += [-1] if tensor in graph.inputs else []
        uses += [len(graph.operators)] if tensor in graph.outputs else []
        return min(uses), max(uses)

    place = plan.tensors[a]
    for b, other in plan.tensors.items():
        share = max(place.offset, other.offset) < min(
            place.offset + place.bytes, other.offset + other.bytes
        )
        if b != a and share and not {a, b} & viewed:
            (first_a, last_a), (first_b, last_b) = life(a), life(b)
            if first_b < first_a < last_b or first_a < first_b < last_a:
                return True
    return False


def misaligned(rng: random.Random, plan: Plan) -> Plan | None:
    tensor = rng.choice(sorted(plan.tensors))
    return replace(plan, tensors=moved(plan.tensors, tensor, plan.tensors[tensor].offset + 1))


def below_zero(rng: random.Random, plan: Plan) -> Plan | None:
    tensor = rng.choice(sorted(plan.tensors))
    return replace(plan, tensors=moved(plan.tensors, tensor, -4))


def no_scratch(rng: random.Random, plan: Plan) -> Plan | None:
    if not plan.scratch:
        return None
    step = rng.choice(sorted(plan.scratch))
    return replace(plan, scratch={s: p for s, p in plan.scratch.items() if s != step})


def scratch_too_small(rng: random.Random, plan: Plan) -> Plan | None:
    if not plan.scratch:
        return None
    step = rng.choice(sorted(plan.scratch))
    place = plan.scratch[step]
    return replace(plan, scratch={**plan.scratch, step: replace(place, bytes=place.bytes - 1)})


def scratch_over_an_input(rng: random.Random, plan: Plan) -> Plan | None:
    for step, place in plan.scratch.items():
        for tensor in plan.graph.operators[step].inputs:
            if tensor in plan.tensors and plan.tensors[tensor].bytes:
                offset = plan.tensors[tensor].offset
                scratch = {**plan.scratch, step: replace(place, offset=offset)}
                return with_honest_claims(replace(plan, scratch=scratch))
    return None


def wrong_region(rng: random.Random, plan: Plan) -> Plan | None:
    tensor = rng.choice(sorted(plan.tensors))
    place = replace(plan.tensors[tensor], region=rng.choice(["flash", "ccm", "sdram"]))
    return replace(plan, tensors={**plan.tensors, tensor: place})


def past_the_arena(rng: random.Random, plan: Plan) -> Plan | None:
    return replace(plan, arenas={"sram": max(plan.certificate.peak_bytes - 1, 0)})


def no_place(rng: random.Random, plan: Plan) -> Plan | None:
    tensor = rng.choice(sorted(plan.tensors))
    return replace(plan, tensors={i: p for i, p in plan.tensors.items() if i != tensor})


def too_short(rng: random.Random, plan: Plan) -> Plan | None:
    tensor = rng.choice(sorted(i for i, p in plan.tensors.items() if p.bytes))
    place = replace(plan.tensors[tensor], bytes=plan.tensors[tensor].bytes - 1)
    return replace(plan, tensors={**plan.tensors, tensor: place})


def overlap_beyond_its_rule(rng: random.Random, plan: Plan) -> Plan | None:
    """The rules of an operator whose output lies over its input are tightened by one byte."""
    for step in range(len(plan.graph.operators)):
        operator, implementation = plan.graph.operators[step], plan.implementations[step]
        for shared in plan.sharing(step):
            position = operator.inputs.index(shared.input)
            if shared.input in plan.state or implementation.kernel in ("none", "views"):
                continue
            output = operator.outputs.index(shared.output)
            rule = OverlapRule(position, output, shared.distance - 1, shared.distance + 1)
            others = tuple(
                r for r in implementation.overlaps if (r.input, r.output) != (position, output)
            )
            stricter = replace(implementation, overlaps=(*others, rule))
            chosen = list(plan.implementations)
            chosen[step] = stricter
            return replace(plan, implementations=tuple(chosen))
    return None


def shortened_lifetime(rng: random.Random, plan: Plan) -> Plan | None:
    """A tensor made after another lies over it although that is still to be read."""
    graph = plan.graph
    for tensor, place in plan.tensors.items():
        reads = [s for s, o in enumerate(graph.operators) if tensor in o.inputs]
        made = [s for s, o in enumerate(graph.operators) if tensor in o.outputs] or [-1]
        for step in range(made[0] + 1, max(reads, default=-1)):
            for output in graph.operators[step].outputs:
                computed = plan.implementations[step].kernel not in ("none", "views")
                if computed and output in plan.tensors and plan.tensors[output].bytes:
                    shifted = moved(plan.tensors, output, place.offset)
                    return with_honest_claims(replace(plan, tensors=shifted))
    return None


def producer_after_consumer(rng: random.Random, plan: Plan) -> Plan | None:
    operators, chosen = list(plan.graph.operators), list(plan.implementations)
    for step in range(len(operators) - 1):
        if set(operators[step].outputs) & set(operators[step + 1].inputs):
            for things in (operators, chosen):
                things[step : step + 2] = things[step + 1], things[step]
            scratch = {
                {step: step + 1, step + 1: step}.get(s, s): p for s, p in plan.scratch.items()
            }
            graph = plan.graph.with_operators(tuple(operators))
            return replace(plan, graph=graph, implementations=tuple(chosen), scratch=scratch)
    return None


def false_peak(rng: random.Random, plan: Plan) -> Plan | None:
    less = plan.certificate.peak_bytes - rng.randint(1, 4)
    return replace(plan, certificate=replace(plan.certificate, peak_bytes=less))


def false_bound(rng: random.Random, plan: Plan) -> Plan | None:
    more = plan.certificate.peak_bytes + 1
    return replace(plan, certificate=replace(plan.certificate, lower_bound_bytes=more))


def false_live_bytes(rng: random.Random, plan: Plan) -> Plan | None:
    step = rng.randrange(len(plan.live_bytes))
    live = [b - (s == step) for s, b in enumerate(plan.live_bytes)]
    return replace(plan, live_bytes=tuple(live))


def one_kernel_missing(rng: random.Random, plan: Plan) -> Plan | None:
    return replace(plan, implementations=plan.implementations[:-1])


MUTATIONS: tuple[Mutation, ...] = (
    onto_a_live_neighbour, misaligned, below_zero, no_scratch, scratch_too_small,
    scratch_over_an_input, wrong_region, past_the_arena, no_place, too_short,
    overlap_beyond_its_rule, shortened_lifetime, producer_after_consumer, false_peak, false_bound,
    false_live_bytes, one_kernel_missing,
)  # fmt: skip


KINDS = (
    onto_a_live_neighbour, shortened_lifetime, overlap_beyond_its_rule, no_scratch, wrong_region,
)  # fmt: skip
"""An offset moved by one unit, a lifetime shortened, an overlap one unit beyond its rule, scratch
left out, a wrong region: what every checker of plans must find."""


def check_mutations(mutate: Mutation, seeds: range) -> int:
    made = 0
    for seed in seeds:
        plan = random_plan(seed)
        assert check_plan(plan) == ()
        mutant = mutate(random.Random(seed), plan)
        if mutant is not None:
            made += 1
            assert check_plan(mutant) != (), f"{mutate.__name__}, seed {seed}"
    return made


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda m: m.__name__)
def test_every_mutated_plan_is_rejected(mutate: Mutation) -> None:
    assert check_mutations(mutate, range(30)) >= 5


@pytest.mark.slow(reason="more than 2,000 mutated plans")
def test_2000_mutated_plans_are_rejected_each_kind_among_them() -> None:
    made = {mutate: check_mutations(mutate, range(170)) for mutate in MUTATIONS}
    assert sum(made.values()) >= 2_000
    assert min(made[mutate] for mutate in KINDS) >= 50


def test_the_checker_says_who_spoiled_what() -> None:
    graph = make_graph(
        {"x": 64, "a": 64, "y": 64},
        [("RELU", ["x"], ["a"]), ("ADD", ["x", "a"], ["y"])],
        ["x"],
        ["y"],
    )
    plan = make_plan(graph, [[kernel(overlaps=[IN_PLACE])], [kernel()]], make_board())
    bad = with_honest_claims(replace(plan, tensors={**plan.tensors, 1: plan.tensors[0]}))
    found = check_plan(bad)
    assert any("x is not whole at step 1, ADD (-> y) (bytes of a are there)" in f for f in found)


@pytest.mark.parametrize("module", ["checker", "stream_checker"])
def test_checker_and_planner_share_no_code(module: str) -> None:
    source = Path(__file__).parent.parent / "mcudeploy/memory" / f"{module}.py"
    imported = [
        line.split()[1]
        for line in source.read_text(encoding="utf-8").splitlines()
        if line.startswith(("import mcudeploy", "from mcudeploy"))
    ]
    assert set(imported) <= {
        "mcudeploy.graph.ir", "mcudeploy.memory.plan", "mcudeploy.memory.problem",
        "mcudeploy.memory.stream_checker", "mcudeploy.operators.base",
    }  # fmt: skip
