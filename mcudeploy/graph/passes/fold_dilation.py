# SPDX-License-Identifier: Apache-2.0
"""Turns SPACE_TO_BATCH_ND, convolution, BATCH_TO_SPACE_ND into one dilated convolution.

The converter writes a dilated convolution so: pad with the zero point, deal every d-th row and
column to a batch of its own, convolve each, and put the rows back. Output row r of the whole reads
input rows r + k * d - padding, which is the dilated convolution; padding with the zero point adds
nothing to a sum, so the bits stay. One-dimensional layers have a reshape on either side of the
convolution; they become a reshape before and one after the dilated convolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mcudeploy.graph.ir import Graph, Operator, Tensor
from mcudeploy.graph.rewrite import Draft, with_attributes

NAME = "fold-dilation"

_CONVOLUTIONS = {"CONV_2D", "DEPTHWISE_CONV_2D"}
RESHAPES = {"RESHAPE", "EXPAND_DIMS", "SQUEEZE"}


@dataclass(frozen=True, eq=False)
class _Match:
    """The operators of one folded pair; reshapes are None for two-dimensional layers."""

    split: Operator
    before: Operator | None
    convolution: Operator
    after: Operator | None
    join: Operator

    @property
    def operators(self) -> list[Operator]:
        found = (self.split, self.before, self.convolution, self.after, self.join)
        return [operator for operator in found if operator is not None]


def apply(graph: Graph) -> Graph:
    draft = Draft(graph)
    for operator in graph.operators:
        if operator.kind == "SPACE_TO_BATCH_ND":
            match = _match(draft, operator)
            if match is not None:
                _fold(draft, match)
    return draft.graph


def _match(draft: Draft, split: Operator) -> _Match | None:
    chain = [split]
    while len(chain) < 5 and (following := draft.only_consumer(chain[-1].outputs[0])) is not None:
        chain.append(following)
        if following.kind == "BATCH_TO_SPACE_ND":
            break
    kinds = [
        "RESHAPE" if o.kind in RESHAPES else "CONV" if o.kind in _CONVOLUTIONS else o.kind
        for o in chain
    ]
    if kinds == ["SPACE_TO_BATCH_ND", "CONV", "BATCH_TO_SPACE_ND"]:
        match = _Match(chain[0], None, chain[1], None, chain[2])
    elif kinds == ["SPACE_TO_BATCH_ND", "RESHAPE", "CONV", "RESHAPE", "BATCH_TO_SPACE_ND"]:
        match = _Match(*chain)
    else:
        return None
    return match if _is_plain(draft, match) else None


def _is_plain(draft: Draft, match: _Match) -> bool:
    """Nothing but the dealing and joining happens, and both are by the same blocks."""
    attributes = match.convolution.attributes
    steps = [attributes.get(name, 1) for name in
             ("stride_h", "stride_w", "dilation_h_factor", "dilation_w_factor")]  # fmt: skip
    arguments = [draft.tensors[i].data for o in (match.split, match.join) for i in o.inputs[1:3]]
    if set(steps) != {1} or len(arguments) != 4 or any(a is None for a in arguments):
        return False
    if arguments[0].tolist() != arguments[2].tolist():  # type: ignore[union-attr]
        return False
    entry, exit_ = draft.tensors[match.split.inputs[0]], draft.tensors[match.join.outputs[0]]
    convolution = match.convolution
    reshapes = [(match.before, 0), (match.after, 1)]
    return (
        attributes.get("padding") == "VALID"
        and "pad_top" not in attributes
        and entry.quantization == draft.tensors[convolution.inputs[0]].quantization
        and exit_.quantization == draft.tensors[convolution.outputs[0]].quantization
        and len(entry.shape) == len(exit_.shape) == (3 if match.before else 4)
        and entry.shape[0] == exit_.shape[0] == 1
        and all(_only_widens(draft, o, after) for o, after in reshapes if o is not None)
    )


def _only_widens(draft: Draft, reshape: Operator, narrows: int) -> bool:
    """(B, T, C) to (B, 1, T, C) or (B, T, 1, C); the other way round behind the convolution."""
    ends = [draft.tensors[reshape.inputs[0]].shape, draft.tensors[reshape.outputs[0]].shape]
    narrow, wide = reversed(ends) if narrows else ends
    if len(narrow) != 3 or len(wide) != 4:
        return False
    batch, length, channels = narrow
    return wide in ((batch, 1, length, channels), (batch, length, 1, channels))


def _fold(draft: Draft, match: _Match) -> None:
    entry, exit_ = match.split.inputs[0], match.join.outputs[0]
    source, target = draft.tensors[entry], draft.tensors[exit_]
    blocks, pads = (_integers(draft, i) for i in match.split.inputs[1:3])
    crops = _integers(draft, match.join.inputs[2])
    axis = _width_axis(draft, match) if match.before else 0
    # One-dimensional: the other spatial axis has size 1, block 1 and no padding.
    if match.before or len(blocks) == 1:
        other = 1 - axis
        blocks = _placed(blocks[0], other, 1)
        pads, crops = _placed_pairs(pads, other), _placed_pairs(crops, other)
    in_hw = source.shape[1:3] if not match.before else _hw(source.shape[1], axis)
    out_hw = target.shape[1:3] if not match.before else _hw(target.shape[1], axis)
    kernel = draft.tensors[match.convolution.inputs[1]].shape[1:3]
    padding: dict[str, int] = {}
    for i, (name, before, after) in enumerate(
        (("h", "pad_top", "pad_bottom"), ("w", "pad_left", "pad_right"))
    ):
        start = pads[2 * i] - crops[2 * i]
        reach = out_hw[i] + (kernel[i] - 1) * blocks[i] - start
        if start < 0:
            return  # the joined map begins inside of the dealt one: no padding says that
        padding |= {
            before: start,
            after: max(0, reach - in_hw[i]),
            f"dilation_{name}_factor": blocks[i],
        }
    _replace(draft, match, with_attributes(match.convolution, **padding), axis)


def _replace(draft: Draft, match: _Match, attributes: object, axis: int) -> None:
    entry, exit_ = match.split.inputs[0], match.join.outputs[0]
    source, target = draft.tensors[entry], draft.tensors[exit_]
    wide_in, wide_out = entry, exit_
    new: list[Operator] = []
    if match.before:
        wide_in = draft.add_tensor(_widened(source, axis))
        wide_out = draft.add_tensor(_widened(target, axis))
        new.append(Operator("RESHAPE", (entry,), (wide_in,)))
    inputs = (wide_in, *match.convolution.inputs[1:])
    new.append(
        replace(match.convolution, inputs=inputs, outputs=(wide_out,), attributes=attributes)  # type: ignore[arg-type]
    )
    if match.before:
        new.append(Operator("RESHAPE", (wide_out,), (exit_,)))
    draft.swap(match.join, *new)
    for operator in match.operators[:-1]:
        draft.swap(operator)


def _widened(tensor: Tensor, axis: int) -> Tensor:
    """(1, T, C) as (1, 1, T, C), or as (1, T, 1, C) where `axis` is 0; the same bytes."""
    batch, length, channels = tensor.shape
    shape = (batch, *_hw(length, axis), channels)
    return replace(tensor, name=f"{tensor.name}/wide", shape=shape)


def _hw(length: int, axis: int) -> tuple[int, int]:
    return (1, length) if axis == 1 else (length, 1)


def _width_axis(draft: Draft, match: _Match) -> int:
    """1 where the reshape makes the time axis the width, 0 where it makes it the height."""
    _, height, _, _ = draft.tensors[match.convolution.inputs[0]].shape
    return 1 if height == 1 else 0


def _integers(draft: Draft, index: int) -> list[int]:
    data = draft.tensors[index].data
    assert data is not None
    return [int(v) for v in data.ravel().tolist()]


def _placed(value: int, other: int, filler: int) -> list[int]:
    return [filler, value] if other == 0 else [value, filler]


def _placed_pairs(pair: list[int], other: int) -> list[int]:
    return [0, 0, *pair] if other == 0 else [*pair, 0, 0]
