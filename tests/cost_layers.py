# SPDX-License-Identifier: Apache-2.0
"""Random layers for instruction costs: one operator each, its kernels, and their exact counts."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cost_edges import dequantize, lstm, quantize, svdf, weights
from kernel_emulator import CountedProgram
from kernel_program import Case
from qemu_counter import count_on_qemu
from tflite_builder import ModelBuilder

from mcudeploy.board import Core
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator
from mcudeploy.operators import support
from mcudeploy.operators.base import Implementation, Target
from mcudeploy.toolchain import cmsis_nn

Random = np.random.Generator
_PROGRAM_CASES = 60
_CHANNELS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)


@dataclass(frozen=True, eq=False)
class Layer:
    """An operator of a graph, and kernels of it on a core."""

    graph: Graph
    implementations: tuple[Implementation, ...]
    position: int = 0

    def case(self, implementation: Implementation, random: Random) -> Case:
        operator = self.graph.operators[self.position]
        inputs = []
        for index in operator.inputs:
            tensor = self.graph.tensors[index] if index != NO_TENSOR else None
            size = tensor.elements if tensor is not None and not tensor.is_constant else 1
            values = random.normal(0, 40, size)
            if operator.kind == "SOFTMAX":  # whose time depends on its data
                values = random.integers(-128, 128, size)
            dtype = "int8" if tensor is None or size == 1 else tensor.dtype
            if dtype != "float32":
                values = np.clip(values, np.iinfo(dtype).min, np.iinfo(dtype).max)
            inputs.append(values.astype(dtype).view(np.int8))
        output = self.graph.tensors[operator.outputs[0]]
        return Case(_of_any_type(implementation), tuple(inputs), output.bytes)


def _of_any_type(one: Implementation) -> Implementation:
    """Programs know buffers of int8 alone."""
    casts = re.sub(r"\{\{ ((?:in|out)puts\[\d+\]) \}\}", r"(void *)({{ \1 }})", one.snippet)
    return replace(one, snippet=casts)


def _pick(random: Random, values: Sequence[int]) -> int:
    return int(random.choice(values))


def _out_scale(columns: int) -> float:
    """So that outputs spread over int8: inputs and weights have a deviation of 40."""
    return 1600 * columns**0.5 / 40


def _activation(random: Random) -> dict[str, str]:
    """None, or one that networks have: it decides which requantization a kernel may take."""
    return {} if random.random() < 0.4 else {"fused_activation_function": "RELU"}


def _output(
    b: ModelBuilder, random: Random, shape: Sequence[int], scale: float, activation: object
) -> int:
    """Mostly an activation's zero point is the least value, so that nothing is left to clamp."""
    least = activation and random.random() < 0.7
    zero_point = -128 if least else int(random.integers(-128, 128))
    return b.tensor(tuple(shape), scale=scale, zero_point=zero_point)


def _same(size: int, kernel: int, stride: int, dilation: int, padding: str) -> int:
    reach = (kernel - 1) * dilation + 1
    return -(-size // stride) if padding == "SAME" else -(-(size - reach + 1) // stride)


def _window(random: Random, *, one_by_one: bool = False) -> tuple[int, int, int, int, str]:
    """Height and width of the map, kernel, stride, padding."""
    height, width = (int(v) for v in random.integers(3, 15, 2))
    kernel = 1 if one_by_one else _pick(random, (2, 3, 3, 3, 5, 7))
    if kernel > min(height, width):
        kernel = 3
    padding = "VALID" if one_by_one else str(random.choice(["SAME", "SAME", "VALID"]))
    return height, width, kernel, _pick(random, (1, 1, 2)), padding


def _convolution(b: ModelBuilder, random: Random, one_by_one: bool, groups: int = 1) -> int:
    """The channels are those of one group."""
    height, width, kernel, stride, padding = _window(random, one_by_one=one_by_one)
    most = 14 if groups == 1 else 8
    in_c, out_c = _pick(random, _CHANNELS[:most]), _pick(random, _CHANNELS[1:most])
    dilation = _dilation(random, min(height, width), kernel, stride)
    out = [_same(n, kernel, stride, dilation, padding) for n in (height, width)]
    x = b.input(
        (1, height, width, in_c * groups), scale=1.0, zero_point=int(random.integers(-128, 128))
    )
    out_c *= groups
    w = b.constant(weights(random, (out_c, kernel, kernel, in_c)), scale=[1.0] * out_c)
    bias = b.constant(np.zeros(out_c, np.int32), scale=[1.0] * out_c)
    activation = _activation(random)
    y = _output(b, random, (1, *out, out_c), _out_scale(kernel * kernel * in_c), activation)
    return b.operator(
        "CONV_2D", [x, w, bias], y, padding=padding, stride_h=stride, stride_w=stride,
        dilation_h_factor=dilation, dilation_w_factor=dilation, **activation,
    )  # fmt: skip


def _dilation(random: Random, side: int, kernel: int, stride: int) -> int:
    return 2 if random.random() < 0.1 and stride == 1 and (kernel - 1) * 2 < side else 1


def _depthwise(b: ModelBuilder, random: Random) -> int:
    height, width, kernel, stride, padding = _window(random)
    in_c, multiplier = _pick(random, _CHANNELS[1:14]), _pick(random, (1, 1, 1, 2, 4, 8))
    in_c = int(random.integers(1, 9)) if multiplier > 1 else in_c
    return _depthwise_of(b, random, (height, width, in_c, multiplier), (kernel, stride, padding))


def _depthwise_3x3(b: ModelBuilder, random: Random) -> int:
    """Any width that kernels for single rows take in one part or in several."""
    height, width = int(random.integers(3, 9)), int(random.integers(3, 60))
    stride, padding = _pick(random, (1, 2)), str(random.choice(["SAME", "VALID"]))
    in_c = _pick(random, _CHANNELS[3:12])
    return _depthwise_of(b, random, (height, width, in_c, 1), (3, stride, padding))


def _depthwise_one(b: ModelBuilder, random: Random) -> int:
    """Of one channel, as the first layer of a network over spectrograms."""
    height, width = (int(v) for v in random.integers(10, 24, 2))
    kernel, stride = _pick(random, (3, 4, 5, 8, 10)), _pick(random, (1, 2))
    multiplier = int(random.integers(2, 13))
    return _depthwise_of(b, random, (height, width, 1, multiplier), (kernel, stride, "SAME"))


def _depthwise_of(
    b: ModelBuilder, random: Random, shape: tuple[int, ...], window: tuple[int, int, str]
) -> int:
    """`shape`: height, width, channels, multiplier; `window`: kernel, stride, padding."""
    (height, width, in_c, multiplier), (kernel, stride, padding) = shape, window
    dilation = _dilation(random, min(height, width), kernel, stride)
    out = [_same(n, kernel, stride, dilation, padding) for n in (height, width)]
    out_c = in_c * multiplier
    x = b.input((1, height, width, in_c), scale=1.0, zero_point=int(random.integers(-128, 128)))
    w = b.constant(weights(random, (1, kernel, kernel, out_c)), scale=[1.0] * out_c, axis=3)
    bias = b.constant(np.zeros(out_c, np.int32), scale=[1.0] * out_c)
    activation = _activation(random)
    y = _output(b, random, (1, *out, out_c), _out_scale(kernel * kernel), activation)
    return b.operator(
        "DEPTHWISE_CONV_2D", [x, w, bias], y, padding=padding, stride_h=stride, stride_w=stride,
        depth_multiplier=multiplier, dilation_h_factor=dilation, dilation_w_factor=dilation,
        **activation,
    )  # fmt: skip


def _transposed(b: ModelBuilder, random: Random) -> int:
    height, width = (int(v) for v in random.integers(2, 8, 2))
    in_c, out_c = _pick(random, _CHANNELS[:9]), _pick(random, _CHANNELS[:9])
    shape = b.constant(np.array([1, 2 * height, 2 * width, out_c], np.int32))
    w = b.constant(weights(random, (out_c, 3, 3, in_c)), scale=[1.0] * out_c)
    x = b.input((1, height, width, in_c), scale=1.0)
    y = b.tensor((1, 2 * height, 2 * width, out_c), scale=_out_scale(3 * in_c))
    return b.operator("TRANSPOSE_CONV", [shape, w, x], y, padding="SAME", stride_h=2, stride_w=2)


def _dense(b: ModelBuilder, random: Random, per_row: bool) -> int:
    in_c, out_c = int(random.integers(8, 300)), int(random.integers(2, 80))
    if random.random() < 0.15:
        out_c = int(random.integers(1, 4))
    x = b.input((1, in_c), scale=1.0, zero_point=int(random.integers(-128, 128)))
    scales = [float(s) for s in random.uniform(0.8, 1.2, out_c)] if per_row else 1.0
    w = b.constant(weights(random, (out_c, in_c)), scale=scales)
    bias = b.constant(np.zeros(out_c, np.int32), scale=scales)
    activation = _activation(random)
    y = _output(b, random, (1, out_c), _out_scale(in_c), activation)
    return b.operator("FULLY_CONNECTED", [x, w, bias], y, **activation)


def _pool(b: ModelBuilder, random: Random, kind: str) -> int:
    height, width, kernel, stride, padding = _window(random)
    channels = _pick(random, _CHANNELS)
    if random.random() < 0.25:
        kernel, padding, stride = min(height, width), "VALID", 1
    out = [_same(n, kernel, stride, 1, padding) for n in (height, width)]
    x = b.input((1, height, width, channels), scale=1.0)
    return b.operator(
        kind, [x], b.tensor((1, *out, channels), scale=1.0), padding=padding, stride_h=stride,
        stride_w=stride, filter_height=kernel, filter_width=kernel,
    )  # fmt: skip


def _binary(b: ModelBuilder, random: Random, kind: str) -> int:
    shape = (1, int(random.integers(1, 12)), int(random.integers(1, 12)), _pick(random, _CHANNELS))
    other = shape if random.random() < 0.5 else (1, 1, 1, shape[3])
    scale = 40.0 if kind == "MUL" else 40.0**3 if kind == "SQUARED_DIFFERENCE" else 1.0
    scale = 1.0 if kind in ("MAXIMUM", "MINIMUM") else 0.05 if kind == "DIV" else scale + 0.7
    if kind == "MUL":
        scale *= _pick(random, (1, 6))  # the second as that of a gate, 255 * 255 in 8 bits
    first, second = b.input(shape, scale=1.0), b.input(other, scale=1.0)
    if kind == "PRELU":
        alpha = weights(random, shape[1:] if other == shape else (1, 1, shape[3]))
        second = b.constant(alpha, scale=0.01)
    activation = _activation(random) if kind in ("ADD", "MUL") else {}
    y = _output(b, random, shape, scale, activation) if activation else b.tensor(shape, scale=scale)
    return b.operator(kind, [first, second], y, **activation)


def _softmax(b: ModelBuilder, random: Random) -> int:
    shape = (int(random.integers(1, 20)), int(random.integers(2, 60)))
    x = b.input((1, *shape), scale=float(2.0 ** random.uniform(-6, 0)))
    return b.operator("SOFTMAX", [x], b.tensor((1, *shape), scale=1 / 256, zero_point=-128), beta=1)


def _table(b: ModelBuilder, random: Random) -> int:
    shape = (1, int(random.integers(1, 2000)))
    x = b.input(shape, scale=float(random.uniform(0.01, 0.1)))
    return b.operator("LOGISTIC", [x], b.tensor(shape, scale=1 / 256, zero_point=-128))


def _moved(b: ModelBuilder, random: Random, kind: str) -> int:
    shape = (*(int(v) for v in random.integers(1, 12, 3)), int(random.integers(1, 36)))
    if random.random() < 0.6:
        shape = (*shape[:3], int(random.integers(1, 7)))
    x = b.input((1, *shape[1:]), scale=1.0)
    if kind == "PAD":
        pads = np.array([[0, 0], [1, 1], [1, 2], [0, 0]], np.int32)
        out = (1, shape[1] + 2, shape[2] + 3, shape[3])
        return b.operator("PAD", [x, b.constant(pads)], b.tensor(out, scale=1.0))
    if kind == "CONCATENATION":
        parts = [x, b.input((1, *shape[1:]), scale=1.0)]
        axis = int(random.integers(1, 4))
        whole = [2 * n if at == axis else n for at, n in enumerate((1, *shape[1:]))]
        return b.operator(kind, parts, b.tensor(whole, scale=1.0), axis=axis)
    if kind == "SLICE":
        out = tuple(int(random.integers(1, n + 1)) for n in (1, *shape[1:]))
        arguments = [b.constant(np.array(v, np.int32)) for v in ([0] * 4, out)]
        return b.operator(kind, [x, *arguments], b.tensor(out, scale=1.0))
    if kind == "GATHER":
        axis = int(random.integers(1, 4))
        indices = random.integers(0, shape[axis], int(random.integers(2, 60))).astype(np.int32)
        out = tuple(len(indices) if at == axis else n for at, n in enumerate((1, *shape[1:])))
        return b.operator(kind, [x, b.constant(indices)], b.tensor(out, scale=1.0), axis=axis)
    if kind == "RESIZE_NEAREST_NEIGHBOR":
        out = (1, *(int(random.integers(1, 5)) * n // 2 + 1 for n in shape[1:3]), shape[3])
        size = b.constant(np.array(out[1:3], np.int32))
        return b.operator(
            kind, [x, size], b.tensor(out, scale=1.0), align_corners=False,
            half_pixel_centers=False,
        )  # fmt: skip
    axes = np.array([0, *(1 + random.permutation(3))], np.int32)
    out = tuple((1, *shape[1:])[axis] for axis in axes)
    return b.operator("TRANSPOSE", [x, b.constant(axes)], b.tensor(out, scale=1.0))


def _product(b: ModelBuilder, random: Random) -> int:
    batches, rows, depth, columns = (int(v) for v in random.integers(1, 24, 4))
    batches = min(batches, 4)
    first = b.input((1, batches, rows, depth), scale=1.0)
    second = b.input((1, batches, depth, columns), scale=1.0)
    y = b.tensor((1, batches, rows, columns), scale=_out_scale(depth))
    return b.operator("BATCH_MATMUL", [first, second], y, adj_x=False, adj_y=False)


def _reduction(b: ModelBuilder, random: Random, kind: str) -> int:
    shape = (1, int(random.integers(2, 12)), int(random.integers(2, 12)), _pick(random, _CHANNELS))
    axes = [1, 2] if random.random() < 0.5 else [3]
    out = tuple(n for axis, n in enumerate(shape) if axis not in axes)
    x = b.input(shape, scale=1.0)
    scale = 10.0 if kind == "SUM" else 1.0
    return b.operator(
        kind, [x, b.constant(np.array(axes, np.int32))], b.tensor(out, scale=scale), keep_dims=False
    )


MAKERS: dict[str, Callable[[ModelBuilder, Random], int]] = {
    "conv": lambda b, r: _convolution(b, r, False),
    "conv 1x1": lambda b, r: _convolution(b, r, True),
    "depthwise": _depthwise,
    "transposed": _transposed,
    "dense": lambda b, r: _dense(b, r, False),
    "dense per row": lambda b, r: _dense(b, r, True),
    "softmax": _softmax,
    **{
        f"QUANTIZE {source} {target}":
            lambda b, r, source=source, target=target: quantize(b, r, source, target)
        for source, target in (
            ("float32", "int8"), ("float32", "int16"), ("uint8", "int8"), ("int16", "int8"),
            ("int8", "int16"),
        )
    },
    **{
        f"DEQUANTIZE {source}": lambda b, r, source=source: dequantize(b, r, source)
        for source in ("int8", "uint8", "int16")
    },
    **{f"SVDF {state}": lambda b, r, state=state: svdf(b, r, state) for state in ("int8", "int16")},
    "LSTM": lstm,
    "product": _product,
    "table": _table,
    **{k: (lambda b, r, k=k: _pool(b, r, k)) for k in ("AVERAGE_POOL_2D", "MAX_POOL_2D")},
    **{
        k: (lambda b, r, k=k: _binary(b, r, k))
        for k in (
            "ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU",
        )
    },
    **{
        k: (lambda b, r, k=k: _moved(b, r, k))
        for k in (
            "PAD", "TRANSPOSE", "CONCATENATION", "SLICE", "GATHER", "RESIZE_NEAREST_NEIGHBOR",
        )
    },
    **{
        k: (lambda b, r, k=k: _reduction(b, r, k))
        for k in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
    },
    "conv grouped": lambda b, r: _convolution(b, r, r.random() < 0.4, _pick(r, (2, 3, 4, 8))),
    "depthwise 3x3": _depthwise_3x3,
    "depthwise one": _depthwise_one,
}  # fmt: skip


def layers(makers: Sequence[str], count: int, random: Random, core: Core) -> Iterator[Layer]:
    """`count` layers of each maker with all kernels that ours and CMSIS-NN's choices offer."""
    for maker in makers:
        for number in range(count):
            builder = ModelBuilder()
            output = MAKERS[maker](builder, random)
            graph = read_tflite(builder.build([output]), f"{maker}-{number}")
            operator = graph.operators[0]
            offered: dict[tuple[str, int], Implementation] = {}
            for kernels in ("auto", "cmsis-nn"):
                target = Target(core, kernels)  # type: ignore[arg-type]
                for one in support.family(operator).implementations(graph, operator, target):
                    if one.snippet:
                        offered.setdefault((one.kernel, one.scratch_bytes), one)
            for one in _for_rows_only(graph, operator, Target(core), offered):
                offered[one.kernel, one.scratch_bytes] = one
            yield Layer(graph, tuple(offered.values()))


def _for_rows_only(
    graph: Graph, operator: Operator, target: Target, offered: Collection[tuple[str, int]]
) -> list[Implementation]:
    """Kernels that are offered for single rows alone, but also compute all rows in one call."""
    known = {kernel for kernel, _ in offered}
    forms = support.family(operator).row_implementations(graph, operator, target)
    return [
        one for one in forms
        if one.kernel not in known and one.rows and not one.rows.flat and not one.rows.accumulates
        and not re.search(r"row_begin(?! \| default)", one.snippet)
    ]  # fmt: skip


def count_instructions(
    measured: Sequence[tuple[Layer, Implementation]], core: Core, random: Random
) -> list[int]:
    """The instructions of `count_costs`."""
    return [count[0] for count in count_costs(measured, core, random)]


def count_costs(
    measured: Sequence[tuple[Layer, Implementation]], core: Core, random: Random
) -> list[tuple[int, ...]]:
    """Exact instructions and, where the core has a model, cycles; compiled as projects are."""
    counts: list[tuple[int, ...]] = []
    tree = cmsis_nn.source()
    for start in range(0, len(measured), _PROGRAM_CASES):
        cases = [layer.case(one, random) for layer, one in measured[start : start + _PROGRAM_CASES]]
        functions = {
            source.removeprefix("cmsis-nn:")
            for case in cases
            for source in case.implementation.sources
            if source.startswith("cmsis-nn:")
        }
        files = [str(tree / f) for f in cmsis_nn.closure(sorted(functions)) if f.suffix == ".c"]
        more = ["-I", str(tree / "Include"), "-include", "string.h", *files]
        with tempfile.TemporaryDirectory() as folder:
            if core.mve:
                counts += [(count,) for count in count_on_qemu(cases, Path(folder), more)]
                continue
            program = CountedProgram(cases, core, Path(folder), more=more)
            runs = [program.run(index) for index in range(len(cases))]
            counts += [(run.instructions, run.cycles) for run in runs]
    return counts
