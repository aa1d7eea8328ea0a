# SPDX-License-Identifier: Apache-2.0
"""Operators that move bytes and compute nothing: PAD, CONCATENATION, RESHAPE.

All but RESHAPE are copies of strided boxes (`firmware/kernels/copy_box.c`); RESHAPE is nothing,
its output has its input's bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mcudeploy.graph.ir import DTYPE_BYTES, Graph, Operator, Tensor
from mcudeploy.operators.base import (
    Implementation,
    OperatorFamily,
    OverlapRule,
    Target,
    register,
)
from mcudeploy.operators.view import constant_at, output_of, scale_limits, tensor_at

_RANK = 4

_PAD = """
memset({{ outputs[0] }}, {{ fill }}, {{ bytes }});
{{ boxes }}
"""

_BOX = """\
static const mcud_box_t {name} = {{
    .extent = {{ {extent} }},
    .in_stride = {{ {in_stride} }},
    .out_stride = {{ {out_stride} }},
    .run = {run},
}};
mcud_copy_box(&{name}, {source}, {target});"""


def box_call(
    name: str,
    shape: Sequence[int],
    in_strides: Sequence[int],
    out_strides: Sequence[int],
    source: str,
    target: str,
) -> str:
    """C text that copies a box of bytes; dimensions that lie together in both are merged.

    `shape` counts in units of the last stride's size; strides are bytes, outermost first, and the
    last of both is the element's size.
    """
    run = in_strides[-1]
    dims = [list(d) for d in zip(shape, in_strides, out_strides, strict=True) if d[0] != 1]
    if in_strides[-1] == out_strides[-1] and dims and dims[-1][1] == run == dims[-1][2]:
        run *= dims.pop()[0]
        while dims and dims[-1][1] == run and dims[-1][2] == run:
            run *= dims.pop()[0]
    merged: list[list[int]] = []
    for extent, in_stride, out_stride in dims:
        if merged and merged[-1][1] == extent * in_stride and merged[-1][2] == extent * out_stride:
            merged[-1] = [merged[-1][0] * extent, in_stride, out_stride]
        else:
            merged.append([extent, in_stride, out_stride])
    padded = [[1, 0, 0]] * (_RANK - len(merged)) + merged
    columns = [", ".join(str(d[i]) for d in padded) for i in range(3)]
    return _BOX.format(
        name=name, extent=columns[0], in_stride=columns[1], out_stride=columns[2], run=run,
        source=source, target=target,
    )  # fmt: skip


def byte_strides(tensor: Tensor) -> tuple[int, ...]:
    """Bytes from one element to the next along each dimension."""
    size = DTYPE_BYTES[tensor.dtype]
    return tuple(size * math.prod(tensor.shape[i + 1 :]) for i in range(len(tensor.shape)))


@register
class Reshape(OperatorFamily):
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the same bytes under another shape."""

    kinds = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        source = tensor_at(graph, operator, 0)
        if source is not None and source.bytes != output_of(graph, operator).bytes:
            yield "its output does not have its input's size"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        return (
            Implementation(
                kernel="none",
                snippet="",
                overlaps=(OverlapRule(input=0, max_distance=0, min_distance=0),),
                reason="the same bytes",
            ),
        )


@register
class Pad(OperatorFamily):
    """PAD with the zero point around a tensor of up to five dimensions."""

    kinds = ("PAD",)

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from scale_limits(graph, operator)
        if constant_at(graph, operator, 1) is None:
            yield "its paddings are computed, not constant"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        paddings = constant_at(graph, operator, 1)
        assert source is not None and paddings is not None
        start = sum(
            int(before) * stride
            for (before, _), stride in zip(paddings, byte_strides(output), strict=True)
        )
        boxes = box_call(
            "box", source.shape, byte_strides(source), byte_strides(output),
            "{{ inputs[0] }}", f"{{{{ outputs[0] }}}} + {start}",
        )  # fmt: skip
        fill = source.quantization.zero_point if source.quantization else 0
        return (
            Implementation(
                kernel="mcud_copy_box",
                snippet=_PAD.replace("{{ boxes }}", boxes),
                values={"fill": fill, "bytes": output.bytes},
                sources=("kernels/copy_box.c",),
                headers=("copy_box.h",),
                reason="the only kernel",
            ),
        )


@register
class Concatenation(OperatorFamily):
    """CONCATENATION along any axis of tensors that share one scale."""

    kinds = ("CONCATENATION",)

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from scale_limits(graph, operator)
        for position in range(len(operator.inputs)):
            source = tensor_at(graph, operator, position)
            if source is None or source.data is not None:
                yield f"input {position} is not computed"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        output = output_of(graph, operator)
        axis = operator.attributes["axis"] % len(output.shape)
        stride = byte_strides(output)[axis]
        calls, start = [], 0
        for position in range(len(operator.inputs)):
            source = tensor_at(graph, operator, position)
            assert source is not None
            calls.append(
                box_call(
                    f"box_{position}", source.shape, byte_strides(source), byte_strides(output),
                    f"{{{{ inputs[{position}] }}}}", f"{{{{ outputs[0] }}}} + {start * stride}",
                )
            )  # fmt: skip
            start += source.shape[axis]
        return (
            Implementation(
                kernel="mcud_copy_box",
                snippet="\n".join(calls),
                sources=("kernels/copy_box.c",),
                headers=("copy_box.h",),
                reason="the only kernel",
            ),
        )
