# SPDX-License-Identifier: Apache-2.0
"""Small graphs with made-up kernels, for the tests of the memory planner."""

from __future__ import annotations

import random
from collections.abc import Sequence

from mcudeploy.board import Board
from mcudeploy.graph.ir import Graph, Operator, Tensor
from mcudeploy.operators.base import Implementation, OverlapRule, Placed

KIB = 1024


def make_board(*ram: tuple[str, int], core: str = "cortex-m4f", external: int = 0) -> Board:
    """A board with the RAM regions (name, bytes) and, if wanted, external RAM."""
    regions = [
        {"name": name, "kind": "ram", "address": 0x20000000 + 0x1000000 * i, "size": size}
        for i, (name, size) in enumerate(ram or (("sram", 320 * KIB),))
    ]
    if external:
        regions.append(
            {"name": "sdram", "kind": "ram", "address": 0xC0000000, "size": external,
             "external": True}
        )  # fmt: skip
    return Board.model_validate(
        {
            "name": "test_board", "title": "Test", "vendor": "none", "mcu": "none", "core": core,
            "clock": {"driver": "none", "hz": 1, "fallback_hz": 1},
            "uart": {"driver": "none", "name": "none", "address": 0},
            "memory": [{"name": "flash", "kind": "flash", "address": 0x08000000, "size": "1M"},
                       *regions],
        }
    )  # fmt: skip


def make_graph(
    sizes: dict[str, int],
    operators: Sequence[tuple[str, Sequence[str], Sequence[str]]],
    inputs: Sequence[str],
    outputs: Sequence[str],
    state: Sequence[str] = (),
) -> Graph:
    """A graph of int8 tensors by name: sizes in bytes, operators as (kind, inputs, outputs)."""
    number = {name: i for i, name in enumerate(sizes)}
    tensors = tuple(
        Tensor(name, (size,), "int8", is_variable=name in state) for name, size in sizes.items()
    )
    return Graph(
        "test",
        tensors,
        tuple(
            Operator(kind, tuple(number[i] for i in ins), tuple(number[o] for o in outs))
            for kind, ins, outs in operators
        ),
        tuple(number[i] for i in inputs),
        tuple(number[o] for o in outputs),
    )


def kernel(
    scratch: int = 0,
    *,
    overlaps: Sequence[OverlapRule] = (),
    placed: Sequence[Placed] = (),
    name: str = "kernel",
) -> Implementation:
    return Implementation(
        name, "", scratch_bytes=scratch, overlaps=tuple(overlaps), placed=tuple(placed)
    )


IN_PLACE = OverlapRule(0, max_distance=0)


def random_network(
    seed: int, operators: int = 12, largest: int = 400, *, state: bool = True
) -> tuple[Graph, list[list[Implementation]]]:
    """A random acyclic graph with state, views, overlap rules and several kernels an operator."""
    rng = random.Random(seed)
    sizes: dict[str, int] = {"in0": rng.randint(1, largest)}
    if rng.random() < 0.3:
        sizes["in1"] = rng.randint(1, largest)
    inputs = list(sizes)
    variables = []
    if rng.random() < 0.3 and state:
        variables.append("state")
        sizes["state"] = rng.randint(1, largest // 4)
    made = list(inputs)
    steps: list[tuple[str, list[str], list[str]]] = []
    candidates: list[list[Implementation]] = []
    for step in range(operators):
        kind = rng.choice(["PLAIN", "PLAIN", "PLAIN", "ADD", "RESHAPE", "CONCAT", "SPLIT", "STATE"])
        recent = made[-4:]
        out = f"t{step}"
        if kind == "RESHAPE":
            source = rng.choice(recent)
            sizes[out] = sizes[source]
            steps.append((kind, [source], [out]))
            candidates.append([kernel(name="none", overlaps=[OverlapRule(0, 0, 0, 0)])])
        elif kind == "CONCAT":
            sources = [rng.choice(recent) for _ in range(2)]
            sizes[out] = sum(sizes[s] for s in sources)
            steps.append((kind, sources, [out]))
            views = [Placed(0, 0, 0), Placed(1, 0, -sizes[sources[0]])]
            candidates.append([kernel(placed=views, name="views"), kernel()])
        elif kind == "SPLIT":
            source = rng.choice(recent)
            first = sizes[source] // 2 // 4 * 4
            sizes |= {f"{out}a": first, f"{out}b": sizes[source] - first}
            steps.append((kind, [source], [f"{out}a", f"{out}b"]))
            views = [Placed(0, 0, 0), Placed(0, 1, first)]
            candidates.append([kernel(placed=views, name="views"), kernel()])
        else:
            sources = [rng.choice(recent) for _ in range(2 if kind == "ADD" else 1)]
            sources += variables if kind == "STATE" else []
            sizes[out] = rng.randint(1, largest)
            steps.append((kind, sources, [out]))
            candidates.append(_random_kernels(rng, len(sources) - (kind == "STATE"), largest))
        made += steps[-1][2]
    consumed = {name for _, ins, _ in steps for name in ins}
    outputs = [n for n in made if n not in consumed and n not in inputs] or [made[-1]]
    return make_graph(sizes, steps, inputs, outputs, variables), candidates


def _random_kernels(rng: random.Random, inputs: int, largest: int) -> list[Implementation]:
    kernels = []
    for number in range(rng.randint(1, 3)):
        rules = [
            OverlapRule(
                position,
                0,
                rng.choice([None, 0, -rng.randint(0, largest // 4), rng.randint(0, 16)]),
                rng.choice([None, None, rng.randint(0, largest)]),
            )
            for position in range(inputs)
            if rng.random() < 0.6
        ]
        scratch = rng.choice([0, 0, rng.randint(1, largest // 2)])
        kernels.append(kernel(scratch, overlaps=rules, name=f"kernel{number}"))
    return kernels
