# SPDX-License-Identifier: Apache-2.0
"""What an operator family says about itself, as values that planning and code generation use.

A family (one file of this folder) knows everything about its operators: the limits, the MACs and
the kernels that can compute it on a core. A kernel choice is an `Implementation`: constants for
flash, scratch for RAM, where its output may lie over its input, the C call. Planning and code
generation know nothing of convolutions; they read these values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from mcudeploy.board import Core
from mcudeploy.graph.formulas import operator_macs
from mcudeploy.graph.ir import Graph, Operator, is_placeholder

Part = Literal["weights", "biases", "tables"]


@dataclass(frozen=True)
class Target:
    """What kernels are chosen for."""

    core: Core
    kernels: Literal["auto", "cmsis-nn"] = "auto"
    optimize: Literal["speed", "balanced", "size"] = "balanced"
    sizes_only: bool = False
    """Constants have their sizes but no values: for plans of networks without weights."""


@dataclass(frozen=True, eq=False)
class Constant:
    """An array that lives in flash. `name` is unique within its operator, e.g. `weights`."""

    name: str
    data: npt.NDArray[Any]
    part: Part
    alignment: int = 4

    @property
    def bytes(self) -> int:
        return int(self.data.nbytes)


@dataclass(frozen=True)
class OverlapRule:
    """Where an output may lie over an input while the kernel runs.

    With distance = output address - input address (bytes), any distance <= `max_distance` and any
    distance >= `min_distance` is safe even though the two share bytes; None permits nothing on
    that side. A kernel that reads each element before it writes the same element, ascending, has
    max_distance 0; one that may be run on a copy-like memmove has 0 and 0.
    """

    input: int
    """Position in Operator.inputs."""
    output: int = 0
    """Position in Operator.outputs."""
    max_distance: int | None = None
    min_distance: int | None = None


@dataclass(frozen=True)
class Placed:
    """An output that is a view of an input, or the other way round: nothing is copied.

    With `written` it is none, but the kernel needs it at that place: it writes the output over the
    input, which must not be needed any more.

    The planner puts the output at exactly input address + `distance` (bytes); the bytes that the
    two then have in common hold the same values before and after the operator. A reshape has
    distance 0; concatenation along the outermost axis minus the offset of the input in the output;
    split plus the offset of the output in the input. What no input covers the kernel writes.
    """

    input: int
    """Position in Operator.inputs."""
    output: int = 0
    """Position in Operator.outputs."""
    distance: int = 0
    written: bool = False


@dataclass(frozen=True)
class RowWindow:
    """The rows of an input that a kernel reads for its output row r:

    r * stride // up - pad + i * dilation for 0 <= i < kernel. Those outside of the map are padding.
    """

    input: int
    """Position in Operator.inputs."""
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    pad: int = 0
    up: int = 1


@dataclass(frozen=True)
class RowForm:
    """How a kernel computes its output row by row, as row-streamed execution calls it.

    The snippet is then rendered with `row_begin` and `row_end`, the output rows to compute, and
    with `in_ring` and `out_ring`, the rows that its input and its output keep at a time: row r lies
    at base + (r mod ring) * row_bytes. Elsewhere these four are undefined, which means all rows of
    whole maps.

    A `flat` form computes one row from one row of each of its inputs: its pointers are those of
    the rows. An accumulating form is flat, and is called for each row of its input; `state` is an
    expression for `state_bytes` that it keeps from call to call, and its only output row is
    complete after the last; `row_begin` is the input's. `windows` has an entry for each input that
    is read by rows; other inputs must be there as a whole.

    A form with `columns` can compute part of a row: these are the columns that it reads, in the
    same manner. The snippet is then also rendered with C expressions for the width of the part's
    input and output and for the padding on its left (`part_in_w`, `part_out_w`,
    `part_pad_left`), and with `storage`, what takes the place of `static const` before values that
    contain them; its pointers are those of the part's first columns. `narrowed(n)` is the
    form for parts of at most n output columns, where it needs less scratch than for whole rows.
    """

    windows: tuple[RowWindow, ...]
    flat: bool = False
    accumulates: bool = False
    state_bytes: int = 0
    columns: RowWindow | None = None
    narrowed: Callable[[int], Implementation] | None = None


@dataclass(frozen=True)
class Shown:
    """A value that an implementation shows to the observer itself, once in each of its steps.

    `sources` are the tensors of the .tflite file that it equals, by step.
    """

    what: str
    bytes: int
    sources: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Implementation:
    """One way to compute one operator on one core.

    `snippet` is a jinja2 text of C statements. It is rendered with `values`, and with `inputs` and
    `outputs` (lists of typed pointer expressions, by position), `scratch` (an `int8_t *`
    expression, `NULL` without scratch) and `constants` (name to C identifier).
    `sources` are entry points: `cmsis-nn:FUNCTION` or a path under firmware/ such as
    `kernels/table_s8.c`; `headers` what the snippet needs included.
    """

    kernel: str
    snippet: str
    values: Mapping[str, Any] = field(default_factory=dict)
    constants: tuple[Constant, ...] = ()
    scratch_bytes: int = 0
    overlaps: tuple[OverlapRule, ...] = ()
    placed: tuple[Placed, ...] = ()
    """Places that the kernel relies on. Kernel `none` without any means `(Placed(0),)`. The planner
    takes such an implementation only where the addresses can be had: offer one that copies after
    it."""
    sources: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    work: Mapping[str, float] = field(default_factory=dict)
    """How often each loop of the kernel runs, by names of which costs.json knows the cost."""
    instructions: float | None = None
    """Predicted instructions on the target's core; set it only where `work` cannot tell them."""
    cycles: float | None = None
    """Predicted cycles with memory that never waits, where the core has a model of them."""
    code_bytes: int = 0
    """Estimated size of the call itself, kernels aside."""
    reason: str = ""
    """Why this kernel, for the report."""
    rows: RowForm | None = None
    """None for a kernel that cannot be called row by row."""
    shows: tuple[Shown, ...] = ()
    """What the snippet shows to `observe` (NULL: to nobody) as outputs of operator `index`, step
    by step in this order. Empty: its outputs are shown when it is done."""

    @property
    def is_in_place(self) -> bool:
        """It writes an output over an input, and works nowhere else."""
        return any(place.written for place in self.placed)


SAME_BYTES = Implementation(
    kernel="none",
    snippet="",
    overlaps=(OverlapRule(input=0, max_distance=0, min_distance=0),),
    reason="the same bytes",
)
"""That of an operator whose output holds its input's bytes."""


class OperatorFamily(ABC):
    """All that is true of a few operator kinds that share their arithmetic."""

    kinds: ClassVar[tuple[str, ...]]
    """TFLite's names, e.g. `("CONV_2D",)`."""
    replacement: ClassVar[str] = ""
    """What a user can put in its place when a limit is hit."""
    internal: ClassVar[bool] = False
    """Its kinds come from rewrites alone, never from a file."""

    @abstractmethod
    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        """Why this operator cannot be deployed, a phrase each; nothing when it can."""

    def macs(self, graph: Graph, operator: Operator) -> int:
        """Multiply-accumulates, biases not counted: one formula for the cost model and the zoo."""
        return operator_macs(graph, operator)

    @abstractmethod
    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        """The ways to compute it, fastest first; later ones need less scratch or overlap more."""

    def row_implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        """The ways to compute it row by row, all with `rows`; fastest first. Empty: none."""
        return tuple(
            one for one in self.implementations(graph, operator, target) if one.rows is not None
        )


_FAMILIES: dict[str, OperatorFamily] = {}


def register(family: type[OperatorFamily]) -> type[OperatorFamily]:
    """Class decorator: makes a family known under its kinds."""
    instance = family()
    for kind in family.kinds:
        if kind in _FAMILIES:
            raise ValueError(f"two operator families claim {kind}")
        _FAMILIES[kind] = instance
    return family


def family_of(kind: str) -> OperatorFamily | None:
    """The family of an operator kind, None when there is none."""
    return _FAMILIES.get(kind)


def known_kinds() -> tuple[str, ...]:
    return tuple(sorted(kind for kind, family in _FAMILIES.items() if not family.internal))


def zeros_of_size(shape: int | tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    """Zeros that share one element: what a constant is where its size alone is wanted."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def as_constant(data: npt.ArrayLike, dtype: str) -> npt.NDArray[Any]:
    """A read-only array for a Constant: contiguous, unless all of it shares one element."""
    if isinstance(data, np.ndarray) and is_placeholder(data):
        return np.broadcast_to(data.ravel()[:1].astype(dtype)[0], data.shape)
    array = np.ascontiguousarray(np.asarray(data, dtype=dtype))
    array.setflags(write=False)
    return array
