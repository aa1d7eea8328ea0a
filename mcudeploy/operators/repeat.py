# SPDX-License-Identifier: Apache-2.0
"""REPEAT: one body of operators for every time step of a recurrent layer.

A rewrite makes it of an unrolled layer (`graph/passes/roll_steps.py`). Its attribute `repeat` is a
`Repeat`: a graph for each step, all of the same operators, shapes and constants, each with the
scales of its step. Of a body graph the inputs are what the step takes from outside, its variable
tensors what it takes over from the step before; its outputs are what it hands on.

The body's own memory is planned like any network's (`memory/bodies.py`), which also writes the
loop: the family itself offers no implementation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.base import Implementation, OperatorFamily, Target, family_of, register


@dataclass(frozen=True)
class Take:
    """Body input `tensor` is input `input` from byte `first` + i * `stride` on, in step i."""

    tensor: int
    input: int
    first: int
    stride: int


@dataclass(frozen=True)
class Carry:
    """State `tensor` begins as input `input` and is body tensor `made` after each step."""

    tensor: int
    input: int
    made: int


@dataclass(frozen=True)
class Give:
    """Body tensor `tensor` is output `output` from byte `first` + i * `stride` on, in step i.

    With stride 0 the output is what the last step made.
    """

    tensor: int
    output: int
    first: int
    stride: int


@dataclass(frozen=True, eq=False)
class Repeat:
    """The bodies of all steps, and how each hangs together with outside and with the next."""

    bodies: tuple[Graph, ...]
    takes: tuple[Take, ...]
    carries: tuple[Carry, ...]
    gives: tuple[Give, ...]

    @property
    def steps(self) -> int:
        return len(self.bodies)


def repeat_of(operator: Operator) -> Repeat:
    found = operator.attributes["repeat"]
    assert isinstance(found, Repeat)
    return found


@register
class Repeated(OperatorFamily):
    """The time steps of a recurrent layer as one loop; its body's operators have their limits."""

    kinds = ("REPEAT",)
    internal = True

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        for step, body in enumerate(repeat_of(operator).bodies):
            for one in body.operators:
                family = family_of(one.kind)
                if family is None:
                    yield f"in step {step}, {body.describe(one)}: there is no kernel"
                    continue
                for reason in family.limits(body, one):
                    yield f"in step {step}, {body.describe(one)}: {reason}"

    def macs(self, graph: Graph, operator: Operator) -> int:
        repeat = repeat_of(operator)
        body = repeat.bodies[0]
        families = [(family_of(one.kind), one) for one in body.operators]
        return repeat.steps * sum(f.macs(body, one) for f, one in families if f is not None)

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        return ()
