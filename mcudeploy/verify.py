# SPDX-License-Identifier: Apache-2.0
"""Golden against emulated, byte for byte, down to the first operator that differs.

For every inference the firmware gives its outputs and one CRC-32 per operator; golden gives the
same from its preserved intermediates. Outputs are compared as bytes, operators as checksums, and
on a difference the operator's bytes are fetched from both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mcudeploy.codegen.manifest import Manifest, OperatorRecord
from mcudeploy.frontend.reference import Reference, ReferenceInference

if TYPE_CHECKING:
    from mcudeploy.emulator.base import Session

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Divergence:
    """The first operator whose output differs, at the first inference where one does.

    `differing` of `elements` differ, by at most `largest_difference` LSB; `first_element` is the
    flat index of the first of them, with the value that was expected and the one that came.
    """

    inference: int
    operator: int
    kind: str
    name: str
    kernel: str
    elements: int
    differing: int
    first_element: int
    expected: float
    got: float
    largest_difference: float

    def __str__(self) -> str:
        return (
            f"operator #{self.operator} {self.kind} ({self.name}, {self.kernel}) differs at "
            f"inference {self.inference}: {self.differing:,} of {self.elements:,} elements, by at "
            f"most {self.largest_difference:g} LSB; element {self.first_element} is {self.got:g}, "
            f"golden {self.expected:g}"
        )


@dataclass(frozen=True)
class Verdict:
    """What comparing a firmware with golden gave.

    `instructions` is the greatest count of model_invoke over the inferences (they are equal for
    networks without data-dependent branches), `operator_instructions` those of that inference.
    `compared_operators` of `operators` have a golden intermediate to compare with.
    """

    emulator: str
    inferences: int
    bit_exact: bool
    distinct_outputs: int
    operators: int
    compared_operators: int
    divergence: Divergence | None
    instructions: int
    instructions_least: int
    operator_instructions: tuple[int, ...]
    stack_bytes: int
    fallbacks: tuple[str, ...] = ()

    @property
    def constant_output(self) -> bool:
        """The outputs never changed over several different inputs: nothing was proven."""
        return self.inferences > 1 and self.distinct_outputs == 1

    @property
    def passed(self) -> bool:
        return self.bit_exact and not self.constant_output


def verify(
    manifest: Manifest,
    model: bytes,
    session: Session,
    inputs: Sequence[Sequence[Array]],
    *,
    emulator: str,
    progress: Callable[[int, int], None] | None = None,
) -> Verdict:
    """Run `inputs` (arrays as the model declares them) on both sides and compare.

    A network that keeps state is reset first, and goes on from each input to the next.
    Raises ToolError when golden cannot run, EmulationError or LinkError when the firmware fails.
    """
    compared = [o for o in manifest.operators if all(t is not None for t in o.tensors)]
    groups = [[t for t in o.tensors if t is not None] for o in compared]
    outputs: set[bytes] = set()
    divergence: Divergence | None = None
    exact = True
    counts: list[tuple[int, tuple[int, ...]]] = []
    if manifest.has_state:
        session.reset()
    with Reference(model) as golden:
        for position, arrays in enumerate(inputs):
            wanted = golden.infer(arrays, checksums=groups, reset=not manifest.has_state)
            got = session.infer([np.ascontiguousarray(a).tobytes() for a in arrays])
            counts.append((got.instructions, got.operator_instructions))
            outputs.add(b"".join(got.outputs))
            if divergence is None:
                first = _first_difference(compared, wanted.checksums, got.checksums)
                if first is not None:
                    divergence = _examine(position, first, arrays, golden, session, manifest)
            exact = exact and divergence is None and _same_outputs(wanted, got.outputs)
            if progress is not None:
                progress(position + 1, len(inputs))
        fallbacks = tuple(golden.fallbacks.values())
        stack = session.stack_bytes()
    most = max(counts, default=(0, ()))
    return Verdict(
        emulator=emulator,
        inferences=len(inputs),
        bit_exact=exact,
        distinct_outputs=len(outputs),
        operators=len(manifest.operators),
        compared_operators=len(compared),
        divergence=divergence,
        instructions=most[0],
        instructions_least=min(counts, default=(0, ()))[0],
        operator_instructions=most[1],
        stack_bytes=stack,
        fallbacks=fallbacks,
    )


def name_of(operator: OperatorRecord, position: int) -> str:
    """The operator's name; of a loop, the step and what it computes there."""
    if not operator.shown:
        return operator.name
    step, number = divmod(position, len(operator.shown))
    return f"step {step} of {operator.name}, {operator.shown[number]}"


def _same_outputs(wanted: ReferenceInference, got: Sequence[bytes]) -> bool:
    return [np.ascontiguousarray(array).tobytes() for array in wanted.outputs] == list(got)


def _first_difference(
    compared: Sequence[OperatorRecord], wanted: Sequence[int], got: Sequence[int]
) -> OperatorRecord | None:
    for operator, checksum in zip(compared, wanted, strict=True):
        if got[operator.index] != checksum:
            return operator
    return None


def _examine(
    inference: int,
    operator: OperatorRecord,
    arrays: Sequence[Array],
    golden: Reference,
    session: Session,
    manifest: Manifest,
) -> Divergence:
    """Fetch the operator's bytes from both sides and describe how they differ."""
    tensors = [t for t in operator.tensors if t is not None]
    expected = golden.infer(arrays, tensors=tensors, reset=not manifest.has_state).tensors
    for position, tensor in enumerate(tensors):
        wanted = expected[tensor].reshape(-1)
        got = np.frombuffer(session.operator_output(operator.index, position), wanted.dtype)
        differing = np.flatnonzero(wanted != got)
        if differing.size:
            gaps = np.abs(wanted.astype(np.float64) - got.astype(np.float64))
            at = int(differing[0])
            return Divergence(
                inference=inference,
                operator=operator.index,
                kind=operator.kind,
                name=name_of(operator, position),
                kernel=operator.kernel,
                elements=int(wanted.size),
                differing=int(differing.size),
                first_element=at,
                expected=float(wanted[at]),
                got=float(got[at]),
                largest_difference=float(gaps.max()),
            )
    # The bytes are equal when fetched again: the checksum itself came wrong over the link.
    return Divergence(
        inference, operator.index, operator.kind, operator.name, operator.kernel,
        0, 0, 0, 0.0, 0.0, 0.0,
    )  # fmt: skip
