# SPDX-License-Identifier: Apache-2.0
"""Folds PAD into the convolutions that read it.

PAD surrounds a map with the zero point, which is what a convolution's own padding counts as: it
adds nothing to a sum. The convolution then carries `pad_top`, `pad_bottom`, `pad_left` and
`pad_right` (see `operators/view.py`, `spatial_padding`), and the padded map needs no memory. In
one-dimensional layers a reshape stands between; the padding moves behind it.
"""

from __future__ import annotations

from dataclasses import replace

from mcudeploy.graph.ir import Graph, Operator, Tensor
from mcudeploy.graph.passes.fold_dilation import RESHAPES
from mcudeploy.graph.rewrite import Draft, with_attributes
from mcudeploy.operators.view import spatial_padding

NAME = "fold-pad"

_CONVOLUTIONS = {"CONV_2D", "DEPTHWISE_CONV_2D"}
_Pads = list[tuple[int, int]]
"""(before, after) for each dimension."""


def apply(graph: Graph) -> Graph:
    draft = Draft(graph)
    for operator in graph.operators:
        if operator.kind in ("PAD", "PADV2"):
            _fold(draft, operator)
    return draft.graph


def _fold(draft: Draft, pad: Operator) -> None:
    pads = _pads(draft, pad)
    padded = pad.outputs[0]
    if pads is None or padded in draft.outputs:
        return
    readers = draft.consumers(padded)
    convolutions: list[tuple[Operator, Operator | None, _Pads]] = []
    for reader in readers:
        convolution, between, moved = reader, None, pads
        if reader.kind in RESHAPES:
            found = draft.only_consumer(reader.outputs[0])
            widened = _through_reshape(draft, reader, pads)
            if found is None or widened is None:
                return
            convolution, between, moved = found, reader, widened
        if not _can_take(draft, convolution, moved, between.outputs[0] if between else padded):
            return
        convolutions.append((convolution, between, moved))
    for convolution, between, moved in convolutions:
        _take(draft, pad, convolution, between, moved)
    if convolutions:
        draft.swap(pad)


def _pads(draft: Draft, pad: Operator) -> _Pads | None:
    """The paddings, where they are constant and the value is the zero point."""
    source, target = draft.tensors[pad.inputs[0]], draft.tensors[pad.outputs[0]]
    data = draft.tensors[pad.inputs[1]].data if len(pad.inputs) > 1 else None
    if data is None or source.dtype != "int8" or source.quantization is None:
        return None
    if source.quantization != target.quantization or data.shape != (len(source.shape), 2):
        return None
    if pad.kind == "PADV2":
        value = draft.tensors[pad.inputs[2]]
        same = value.quantization == source.quantization
        if (
            value.data is None
            or not same
            or int(value.data.item()) != source.quantization.zero_point
        ):
            return None
    pads = [(int(before), int(after)) for before, after in data.tolist()]
    return pads if all(b >= 0 and a >= 0 for b, a in pads) else None


def _through_reshape(draft: Draft, reshape: Operator, pads: _Pads) -> _Pads | None:
    """The paddings behind a reshape that only adds dimensions of size 1."""
    before = draft.tensors[reshape.inputs[0]].shape
    moved: _Pads = []
    position = 0
    for size in draft.tensors[reshape.outputs[0]].shape:
        if position < len(before) and size == before[position]:
            moved.append(pads[position])
            position += 1
        elif size == 1:
            moved.append((0, 0))
        else:
            return None
    return moved if position == len(before) else None


def _can_take(draft: Draft, convolution: Operator, pads: _Pads, reads: int) -> bool:
    return (
        convolution.kind in _CONVOLUTIONS
        and convolution.inputs[0] == reads
        and reads not in convolution.inputs[1:]
        and len(pads) == 4
        and pads[0] == (0, 0)
        and pads[3] == (0, 0)
    )


def _take(
    draft: Draft, pad: Operator, convolution: Operator, between: Operator | None, pads: _Pads
) -> None:
    """Let `convolution` read the map that `pad` surrounds."""
    source = pad.inputs[0]
    _, height, width, _ = draft.tensors[convolution.inputs[0]].shape
    kernel = draft.tensors[convolution.inputs[1]].shape
    (top, bottom), (left, right) = spatial_padding(
        convolution, (height, width), (kernel[1], kernel[2])
    )
    attributes = with_attributes(
        convolution,
        pad_top=top + pads[1][0],
        pad_bottom=bottom + pads[1][1],
        pad_left=left + pads[2][0],
        pad_right=right + pads[2][1],
    )
    if between is not None:
        source = draft.add_tensor(_unpadded(draft, pad, between, pads))
        draft.swap(between, Operator("RESHAPE", (pad.inputs[0],), (source,)))
    inputs = (source, *convolution.inputs[1:])
    draft.swap(convolution, replace(convolution, inputs=inputs, attributes=attributes))


def _unpadded(draft: Draft, pad: Operator, between: Operator, pads: _Pads) -> Tensor:
    """What the reshape gives when it reads the map without its padding: that map's bytes."""
    source = draft.tensors[pad.inputs[0]]
    padded = draft.tensors[between.outputs[0]]
    shape = tuple(
        size - before - after for size, (before, after) in zip(padded.shape, pads, strict=True)
    )
    return replace(padded, name=f"{source.name}/wide", shape=shape, source=source.source)
