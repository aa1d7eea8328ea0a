# SPDX-License-Identifier: Apache-2.0
"""Random networks of operators that run row by row: chains, residuals and joins, as .tflite files.

Kernels, strides, paddings and dilations are drawn for each operator, and so is how deep the two
branches of a residual or a join are: their rows come with different delays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from tflite_builder import ModelBuilder

_JOINT = 0.05
"""The scale of all maps, so that any two can be joined."""
Map = tuple[int, tuple[int, int, int]]
"""A tensor with its height, width and channels."""


class _Network:
    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.random = np.random.default_rng(draw(st.integers(0, 2**31)))
        self.b = ModelBuilder()
        shape = (draw(st.integers(4, 23)), draw(st.integers(2, 20)), draw(st.integers(1, 8)))
        self.zero_point = draw(st.integers(-20, 20))
        self.x: Map = (self.b.input((1, *shape), scale=_JOINT, zero_point=self.zero_point), shape)

    def map(self, shape: tuple[int, int, int]) -> int:
        return self.b.tensor((1, *shape), scale=_JOINT, zero_point=self.zero_point)

    def window(self, shape: tuple[int, int, int], *, keep: bool) -> dict[str, Any]:
        """Options of a window; `keep`: the map stays as large as it is."""
        draw, options = self.draw, {}
        for axis, size in (("h", shape[0]), ("w", shape[1])):
            kernel = draw(st.integers(1, 5))
            dilation = draw(st.sampled_from([1, 1, 2]))
            reach = (kernel - 1) * dilation + 1
            options[axis] = (kernel, dilation, 1 if keep else draw(st.integers(1, 3)), reach, size)
        fits = all(reach <= size for *_, reach, size in options.values())
        same = keep or not fits or draw(st.booleans())
        if any(dilation > 1 for _, dilation, *_ in options.values()):
            options = {a: (k, d, 1, r, n) for a, (k, d, _, r, n) in options.items()}
        out = {
            axis: -(-size // stride) if same else -(-(size - reach + 1) // stride)
            for axis, (_, _, stride, reach, size) in options.items()
        }
        return {
            "kernel": (options["h"][0], options["w"][0]),
            "out": (out["h"], out["w"]),
            "options": {
                "padding": "SAME" if same else "VALID",
                "stride_h": options["h"][2],
                "stride_w": options["w"][2],
            },
            "dilations": {
                "dilation_h_factor": options["h"][1],
                "dilation_w_factor": options["w"][1],
            },
        }

    def convolution(self, x: Map, *, keep: bool = False, channels: int = 0) -> Map:
        tensor, (_, _, in_c) = x
        window = self.window(x[1], keep=keep)
        depthwise = not channels and self.draw(st.booleans())
        out_c = in_c if depthwise else channels or self.draw(st.integers(1, 9))
        k_h, k_w = window["kernel"]
        shape = (1, k_h, k_w, out_c) if depthwise else (out_c, k_h, k_w, in_c)
        taps = k_h * k_w * (1 if depthwise else in_c)
        scale = 1.0 / (127 * taps**0.5)
        weights = self.random.integers(-127, 128, shape).astype(np.int8)
        bias = self.random.integers(-500, 500, out_c).astype(np.int32)
        out = (*window["out"], out_c)
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        more = {"depth_multiplier": 1} if depthwise else {}
        inputs = [
            tensor,
            self.b.constant(weights, scale=[scale] * out_c, axis=3 if depthwise else 0),
            self.b.constant(bias, scale=[scale * _JOINT] * out_c),
        ]
        activation = self.draw(st.sampled_from(["NONE", "RELU", "RELU6"]))
        made = self.b.operator(
            kind, inputs, self.map(out), fused_activation_function=activation,
            **window["options"], **window["dilations"], **more,
        )  # fmt: skip
        return made, out

    def pool(self, x: Map) -> Map:
        window = self.window(x[1], keep=False)
        out = (*window["out"], x[1][2])
        dilated = window["dilations"].values()
        if window["options"]["padding"] == "VALID" and max(dilated) > 1:
            return x
        made = self.b.operator(
            self.draw(st.sampled_from(["AVERAGE_POOL_2D", "MAX_POOL_2D"])), [x[0]], self.map(out),
            filter_height=window["kernel"][0], filter_width=window["kernel"][1],
            **window["options"],
        )  # fmt: skip
        return made, out

    def table(self, x: Map) -> Map:
        return self.b.operator("HARD_SWISH", [x[0]], self.map(x[1])), x[1]

    def branch(self, x: Map, depth: int) -> Map:
        for _ in range(depth):
            x = self.convolution(x, keep=True)
        return x

    def residual(self, x: Map) -> Map:
        left = self.branch(x, self.draw(st.integers(0, 2)))
        right = self.branch(x, self.draw(st.integers(0, 2)))
        if left[1] != right[1]:
            left = self.convolution(left, keep=True, channels=right[1][2])
        made = self.b.operator("ADD", [left[0], right[0]], self.map(left[1]))
        return made, left[1]

    def join(self, x: Map) -> Map:
        return self.joined([self.branch(x, self.draw(st.integers(0, 2))) for _ in range(2)])

    def pad(self, x: Map) -> Map:
        around = [(0, 0), *(self.draw(st.tuples(*[st.integers(0, 2)] * 2)) for _ in "hw"), (0, 0)]
        height, width, channels = x[1]
        out = (height + sum(around[1]), width + sum(around[2]), channels)
        table = self.b.constant(np.array(around, np.int32))
        return self.b.operator("PAD", [x[0], table], self.map(out)), out

    def resize(self, x: Map) -> Map:
        height, width, channels = x[1]
        out = (self.draw(st.integers(1, 2 * height)), self.draw(st.integers(1, 2 * width)))
        size = self.b.constant(np.array(out, np.int32))
        flags = self.draw(st.sampled_from([{}, {"half_pixel_centers": True}]))
        kind = self.draw(st.sampled_from(["RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"]))
        made = self.b.operator(kind, [x[0], size], self.map((*out, channels)), **flags)
        return made, (*out, channels)

    def slice(self, x: Map) -> Map:
        """Some columns and channels."""
        height, width, channels = x[1]
        first = [self.draw(st.integers(0, n - 1)) for n in (width, channels)]
        count = [self.draw(st.integers(1, n - f)) for n, f in zip(x[1][1:], first, strict=True)]
        begin = self.b.constant(np.array([0, 0, *first], np.int32))
        size = self.b.constant(np.array([1, height, *count], np.int32))
        out = (height, *count)
        return self.b.operator("SLICE", [x[0], begin, size], self.map(out)), out

    def transpose(self, x: Map) -> Map:
        """Columns and channels exchanged."""
        height, width, channels = x[1]
        axes = self.b.constant(np.array([0, 1, 3, 2], np.int32))
        out = (height, channels, width)
        return self.b.operator("TRANSPOSE", [x[0], axes], self.map(out)), out

    def shuffle(self, x: Map) -> Map:
        """As a converter writes it: the channels as a matrix, transposed, in one row again."""
        height, width, channels = x[1]
        groups = self.draw(st.sampled_from([n for n in range(1, channels + 1) if not channels % n]))
        shapes = [(1, height, width, groups, channels // groups)]
        shapes += [(1, height, width, channels // groups, groups), (1, height, width, channels)]
        made = x[0]
        for kind, shape in zip(("RESHAPE", "TRANSPOSE", "RESHAPE"), shapes, strict=True):
            argument = (0, 1, 2, 4, 3) if kind == "TRANSPOSE" else shape
            constant = self.b.constant(np.array(argument, np.int32))
            out = self.b.tensor(shape, scale=_JOINT, zero_point=self.zero_point)
            made = self.b.operator(kind, [made, constant], out)
        return made, x[1]

    def split(self, x: Map) -> Map:
        """Parts of the channels that go different ways and are joined, a shuffle unit's shape."""
        height, width, channels = x[1]
        if channels < 2:
            return x
        first = self.draw(st.integers(1, channels - 1))
        shapes = [(height, width, first), (height, width, channels - first)]
        parts = [self.map(shape) for shape in shapes]
        axis = self.b.constant(np.array(3, np.int32))
        if 2 * first == channels:
            self.b.operator("SPLIT", [axis, x[0]], parts, num_splits=2)
        else:
            sizes = self.b.constant(np.array([first, channels - first], np.int32))
            self.b.operator("SPLIT_V", [x[0], sizes, axis], parts, num_splits=2)
        maps = list(zip(parts, shapes, strict=True))
        return self.joined([self.branch(m, self.draw(st.integers(0, 2))) for m in maps])

    def joined(self, parts: list[Map]) -> Map:
        height, width, _ = parts[0][1]
        out = (height, width, sum(part[1][2] for part in parts))
        made = self.b.operator("CONCATENATION", [part[0] for part in parts], self.map(out), axis=3)
        return made, out

    def end(self, x: Map) -> Map:
        """Nothing, or what sums up the whole map."""
        reductions, pools = ["MEAN", "SUM", "REDUCE_MAX"], ["AVERAGE_POOL_2D", "MAX_POOL_2D"]
        kind = self.draw(st.sampled_from(["", *reductions, *pools]))
        height, width, channels = x[1]
        if kind in reductions:
            axes = self.b.constant(np.array([1, 2], np.int32))
            keep = self.draw(st.booleans())
            shape = (1, 1, 1, channels) if keep else (1, channels)
            mean = self.b.tensor(shape, scale=_JOINT, zero_point=self.zero_point)
            made = self.b.operator(kind, [x[0], axes], mean, keep_dims=keep)
            return made, (1, 1, channels)
        if kind:
            return self.b.operator(
                kind, [x[0]], self.map((1, 1, channels)), padding="VALID", stride_h=1,
                stride_w=1, filter_height=height, filter_width=width,
            ), (1, 1, channels)  # fmt: skip
        return x


@st.composite
def networks(draw: st.DrawFn) -> bytes:
    """A .tflite of two to six blocks, all of which can run row by row."""
    net = _Network(draw)
    x = net.convolution(net.x)
    for kind in draw(
        st.lists(
            st.sampled_from(
                [
                    *["convolution"] * 5,
                    "pool",
                    "table",
                    "residual",
                    "residual",
                    "join",
                    "pad",
                    "resize",
                    "slice",
                    "transpose",
                    "shuffle",
                    "split",
                    "split",
                ]
            ),
            min_size=1,
            max_size=5,
        )
    ):
        x = getattr(net, kind)(x)
    x = net.end(x)
    return net.b.build([x[0]])


def window_taller_than_its_map() -> bytes:
    """A convolution, then one whose window of five rows lies over a map of four."""
    b, random = ModelBuilder(), np.random.default_rng(1)
    x = b.input((1, 4, 8, 2), scale=_JOINT)
    for (k_h, k_w), stride, rows in (((1, 1), 1, 4), ((5, 3), 2, 2)):
        weights = b.constant(
            random.integers(-127, 128, (2, k_h, k_w, 2)).astype(np.int8), scale=[1 / 500] * 2
        )
        bias = b.constant(np.zeros(2, np.int32), scale=[_JOINT / 500] * 2)
        y = b.tensor((1, rows, 8, 2), scale=_JOINT)
        options = {"padding": "SAME", "stride_h": stride, "stride_w": 1}
        x = b.operator("CONV_2D", [x, weights, bias], y, **options)
    return b.build([x])
