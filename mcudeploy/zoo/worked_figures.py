# SPDX-License-Identifier: Apache-2.0
"""The worked figures that belong to a formula, not to an architecture, as rows of `zoo verify`."""

from __future__ import annotations

from collections.abc import Iterator

from mcudeploy.graph.formulas import (
    convolution,
    depthwise_separable,
    separable_ratio,
    spatially_separable,
)
from mcudeploy.zoo.claims import Row
from mcudeploy.zoo.compression_figures import published_rows
from mcudeploy.zoo.counting import count
from mcudeploy.zoo.net import Net
from mcudeploy.zoo.squeezenet import fire


def rows() -> Iterator[Row]:
    """Layer formulas, MobileNet's single layer, the fire module, kernels of rank 1, compression."""
    yield from _small_layer()
    yield from _mobilenet_layer()
    yield from _fire_module()
    for k in (3, 5, 7):
        system = f"spatially separable {k}x{k} kernel"
        cost = spatially_separable(1, 1, k, k)
        yield Row(system, "multiplications", str(2 * k), float(cost.macs), "one output, rank 1")
        plain = convolution(1, 1, k, k, 1, 1).macs
        system = f"plain {k}x{k} kernel"
        yield Row(system, "multiplications", str(k * k), float(plain), "one output")
    yield from published_rows()


def _small_layer() -> Iterator[Row]:
    system, how = "7x7x3 to 5x5x128, 3x3 kernels", "valid padding, no biases"
    plain = convolution(5, 5, 3, 3, 3, 128).macs
    separable = depthwise_separable(5, 5, 3, 3, 3, 128).macs
    yield Row(system, "MACs, plain", "86,400", float(plain), how)
    yield Row(system, "MACs, depthwise separable", "10,275", float(separable), how)
    yield Row(
        "depthwise separable, M 1024, 3x3", "share of the plain MACs", "0.112",
        separable_ratio(3, 3, 1024), "1/M + 1/(R*S)",
    )  # fmt: skip


def _mobilenet_layer() -> Iterator[Row]:
    """MobileNetV1, Table 3: D_K 3, M = N = 512, D_F 14; then alpha 0.75, then rho 0.714."""
    system, how = "MobileNetV1's layer, 14x14x512, 3x3", "Table 3, each line on top of the last"
    plain = convolution(14, 14, 3, 3, 512, 512)
    separable = depthwise_separable(14, 14, 3, 3, 512, 512)
    narrow = depthwise_separable(14, 14, 3, 3, 384, 384)
    small = depthwise_separable(10, 10, 3, 3, 384, 384)
    for name, cost, macs, weights in (
        ("plain", plain, "462M", "2.36M"), ("separable", separable, "52.3M", "0.27M"),
        ("alpha 0.75", narrow, "29.6M", "0.15M"), ("rho 0.714", small, "15.1M", "0.15M"),
    ):  # fmt: skip
        yield Row(system, f"MACs, {name}", macs, float(cost.macs), how)
        yield Row(system, f"weights, {name}", weights, float(cost.weights), how)


def _fire_module() -> Iterator[Row]:
    """SqueezeNet's fire module on 128 channels (16 squeeze, 64 + 64 expand)."""
    net = Net("fire module")
    counts = count(net.finish(fire(net, net.input(55, 55, 128), 16, 128, 0.5, "fire")))
    system = "fire module, 128 channels"
    weights, biases = counts.kernels, counts.biases
    yield Row(system, "weights", "12,288", float(weights), "no biases")
    yield Row(system, "parameters", "12,432", float(weights + biases), "with biases")
    plain = convolution(55, 55, 3, 3, 128, 128).weights
    yield Row("3x3 convolution, 128 channels", "weights", "147,456", float(plain), "no biases")
