# SPDX-License-Identifier: Apache-2.0
"""The network itself as C: `model.h`, `model.c`, `model_weights.h` and `model_weights.c`.

Every operator becomes one function whose body is the snippet of its `Implementation`, with its
tensors' addresses filled in from the `Plan`. Constants with equal bytes are emitted once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import jinja2

from mcudeploy import __version__
from mcudeploy.codegen.c_source import (
    C_TYPES,
    array_elements,
    comment_text,
    float_literal,
    identifier,
    string_literal,
)
from mcudeploy.codegen.streams import (
    Address,
    Pointer,
    part_signature,
    row_values,
    segment_context,
    uses_row,
)
from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator, Tensor
from mcudeploy.memory.plan import Placement, Plan
from mcudeploy.operators.base import Implementation
from mcudeploy.operators.constants import SharedConstant, share_constants
from mcudeploy.operators.snippet import snippet_template
from mcudeploy.operators.support import macs
from mcudeploy.resources import resource_folder


def environment() -> jinja2.Environment:
    """The jinja2 environment over `templates/`: undefined names are errors."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource_folder("templates")),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )


@dataclass(frozen=True, eq=False)
class ModelSource:
    """What the model's C text is made from.

    With `shares_arena` the arena is a common symbol: the linker gives all networks of a firmware
    one, as large as the largest.
    """

    plan: Plan
    title: str
    labels: tuple[str, ...] = ()
    prefix: str = "model"
    shares_arena: bool = False

    def arena(self, region: str) -> str:
        """The C symbol of a region's arena."""
        return arena_symbol("mcudeploy_shared" if self.shares_arena else self.prefix, region)

    def state(self, region: str) -> str:
        """The C symbol of a region's kept state."""
        return state_symbol(self.prefix, region)


def render_model(source: ModelSource) -> dict[str, str]:
    """File name to text of the model's C, without its kernels. The same source, the same text."""
    context = _context(source)
    env = environment()
    files = {
        f"{source.prefix}.h": "model/model.h.j2",
        f"{source.prefix}.c": "model/model.c.j2",
        f"{source.prefix}_weights.h": "model/weights.h.j2",
        f"{source.prefix}_weights.c": "model/weights.c.j2",
    }
    return {name: env.get_template(path).render(context) for name, path in files.items()}


def arena_symbol(prefix: str, region: str) -> str:
    return f"{prefix}_arena_{region}"


def state_symbol(prefix: str, region: str) -> str:
    return f"{prefix}_state_{region}"


def _context(source: ModelSource) -> dict[str, Any]:
    streams = [segment_context(source.plan, s, *_resolvers(source)) for s in source.plan.streams]
    plan, prefix = source.plan, source.prefix
    graph = plan.graph
    arrays, labels = share_constants(plan.implementations)
    names = [{name: f"{prefix}_{label}" for name, label in own.items()} for own in labels]
    first_ram = plan.board.regions("ram")[0].name
    headers: dict[str, None] = {}
    for implementation in plan.implementations:
        headers.update(dict.fromkeys(implementation.headers))
    return {
        "version": __version__,
        "title": comment_text(source.title),
        "board": plan.board,
        "prefix": prefix,
        "shares_arena": source.shares_arena,
        "labels": [string_literal(label) for label in source.labels],
        "headers": list(headers),
        "macs": sum(macs(graph, operator) for operator in graph.operators),
        "arenas": [
            _block(source.arena(r), r, size, "arena", first_ram, common=source.shares_arena)
            for r in plan.arenas
            if (size := plan.state_begin(r))
        ],
        "states": [
            _block(source.state(r), r, size, "state", first_ram)
            for r in plan.arenas
            if (size := plan.arenas[r] - plan.state_begin(r))
        ],
        "state_fills": [_state_fill(source, index) for index in plan.state],
        "inputs": _edges(source, graph.inputs, "input"),
        "outputs": _edges(source, graph.outputs, "output"),
        "steps": [
            _step(source, position, names[position]) for position in range(len(graph.operators))
        ],
        "streams": streams,
        "fed": next((stream for stream in streams if stream["fed"]), None),
        "arrays": [_array(array, prefix) for array in arrays],
        "bytes": sum(array.constant.bytes for array in arrays),
    }


def _block(
    symbol: str, region: str, size: int, kind: str, first_ram: str, *, common: bool = False
) -> dict[str, Any]:
    in_bss = region == first_ram
    section = f".bss.mcudeploy.{kind}.{region}" if in_bss else f".region.{region}.{kind}"
    place = "common" if common else f'section("{section}")'
    return {"symbol": symbol, "region": region, "bytes": size, "place": place}


def _state_fill(source: ModelSource, index: int) -> dict[str, Any]:
    tensor, place = source.plan.graph.tensors[index], source.plan.state[index]
    zero = tensor.quantization.zero_point if tensor.quantization and tensor.dtype == "int8" else 0
    return {
        "pointer": _state_address(source, place),
        "bytes": place.bytes,
        "value": zero,
        "comment": comment_text(tensor.name),
    }


def _state_address(source: ModelSource, place: Placement) -> str:
    begin = source.plan.state_begin(place.region)
    return _address(source.state(place.region), replace(place, offset=place.offset - begin))


def _address(symbol: str, place: Placement) -> str:
    return f"{symbol} + {place.offset}" if place.offset else symbol


def _pointer(source: ModelSource, index: int) -> str:
    """The C expression of a tensor's address, of the tensor's type; NULL for one without RAM."""
    plan = source.plan
    if index == NO_TENSOR or plan.graph.tensors[index].is_constant:
        return "NULL"
    tensor = plan.graph.tensors[index]
    if index in plan.state:
        place = plan.state[index]
        expression = _state_address(source, place)
    else:
        place = plan.tensors[index]
        expression = _address(source.arena(place.region), place)
    ctype = C_TYPES[tensor.dtype]
    return f"({expression})" if ctype == "int8_t" else f"(({ctype} *)(void *)({expression}))"


def _scale(tensor: Tensor) -> float:
    return tensor.quantization.scale if tensor.quantization and tensor.dtype != "float32" else 0.0


def _edges(source: ModelSource, indices: Iterable[int], kind: str) -> list[dict[str, Any]]:
    edges, prefix = [], source.prefix
    for position, index in enumerate(indices):
        tensor = source.plan.graph.tensors[index]
        scale = _scale(tensor)
        zero_point = tensor.quantization.zero_point if scale and tensor.quantization else 0
        edges.append(
            {
                "title": f"{kind.capitalize()} {position}, {comment_text(tensor.name)}",
                "macro": f"{prefix.upper()}_{kind.upper()}_{position}",
                "pointer": _pointer(source, index),
                "bytes": tensor.bytes,
                "elements": tensor.elements,
                "dtype": tensor.dtype,
                "rank": len(tensor.shape),
                "shape_c": ", ".join(map(str, tensor.shape)) or "0",
                "shape_text": "x".join(map(str, tensor.shape)) or "scalar",
                "scale": scale,
                "scale_text": float_literal(scale),
                "zero_point": zero_point,
                "name_literal": string_literal(tensor.name),
            }
        )
    return edges


def _step(source: ModelSource, position: int, names: dict[str, str]) -> dict[str, Any]:
    plan, graph = source.plan, source.plan.graph
    operator = graph.operators[position]
    implementation = plan.implementations[position]
    scratch = plan.scratch.get(position)
    stream = plan.stream_at(position)
    body = ""
    if implementation.snippet:
        where: dict[str, Any] = {
            "inputs": [_pointer(source, i) for i in operator.inputs],
            "outputs": [_pointer(source, i) for i in operator.outputs],
        }
        if stream is not None:
            where = row_values(plan, stream, position, *_resolvers(source))
        text = snippet_template(implementation.snippet).render(
            implementation.values,
            scratch=f"({_address(source.arena(scratch.region), scratch)})" if scratch else "NULL",
            constants=names,
            index=position,
            **where,
        )
        if stream is not None and not uses_row(implementation, where):
            text = f"(void)row;\n{text}"
        body = "\n".join(f"    {line}" if line else "" for line in text.splitlines())
    return {
        "index": position,
        "name_literal": string_literal(
            f"{operator.kind} {identifier(graph.tensors[operator.outputs[0]].name)}"
        ),
        "comment": _comment(graph, operator, implementation),
        "body": body,
        "shows": bool(implementation.shows),
        "streamed": stream is not None,
        "part": part_signature(stream, position) if stream is not None else None,
        "starts": stream is not None and stream.segment.first == position,
        "fed": stream is not None and stream.segment.fed,
        "outputs": [
            {"pointer": _pointer(source, i), "bytes": graph.tensors[i].bytes}
            for i in operator.outputs
        ],
    }


def _resolvers(source: ModelSource) -> tuple[Pointer, Address]:
    """How streams find the C expressions of tensors and of places."""
    return (
        lambda tensor: _pointer(source, tensor),
        lambda place: _address(source.arena(place.region), place),
    )


def _comment(graph: Graph, operator: Operator, implementation: Implementation) -> str:
    def shape(index: int) -> str:
        return "x".join(map(str, graph.tensors[index].shape)) or "scalar"

    reads = ", ".join(
        shape(i) for i in operator.inputs if i != NO_TENSOR and not graph.tensors[i].is_constant
    )
    writes = ", ".join(shape(i) for i in operator.outputs)
    count = macs(graph, operator)
    parts = [f"{operator.kind} {reads} -> {writes}"]
    if count:
        parts.append(f"{count:,} MACs")
    parts.append(implementation.kernel if implementation.snippet else "nothing to compute")
    return ", ".join(parts)


def _array(array: SharedConstant, prefix: str) -> dict[str, Any]:
    constant = array.constant
    users = ", ".join(map(str, array.users))
    return {
        "symbol": f"{prefix}_{array.label}",
        "ctype": C_TYPES[str(constant.data.dtype)],
        "elements": constant.data.size,
        "alignment": constant.alignment,
        "part": constant.part,
        "comment": f"{constant.name} of operator {users}: "
        f"{'x'.join(map(str, constant.data.shape))}, {constant.bytes} bytes",
        "initializers": array_elements(constant.data),
    }
