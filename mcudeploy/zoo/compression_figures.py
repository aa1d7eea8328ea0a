# SPDX-License-Identifier: Apache-2.0
"""What SqueezeNet and AlexNet take under Deep Compression, beside the published sizes."""

from __future__ import annotations

from collections.abc import Iterator

from mcudeploy.zoo.alexnet import ARCHITECTURES as ALEXNET
from mcudeploy.zoo.claims import Row
from mcudeploy.zoo.compression import CompressedSize, estimate
from mcudeploy.zoo.counting import count
from mcudeploy.zoo.squeezenet import ARCHITECTURES as SQUEEZENET

SQUEEZENET_DENSITIES = {
    "fire2/expand3x3": 0.33, "fire3/expand3x3": 0.33, "fire4/expand3x3": 0.33,
    "fire5/expand3x3": 0.33, "fire6/expand1x1": 0.5, "fire6/expand3x3": 0.33,
    "fire7/squeeze": 0.5, "fire7/expand3x3": 0.33, "fire8/expand1x1": 0.5,
    "fire8/expand3x3": 0.33, "fire9/squeeze": 0.5, "fire9/expand3x3": 0.3, "conv10": 0.2,
}  # fmt: skip
"""Iandola et al., 2016, Table 1; what is not named is kept whole."""

ALEXNET_DENSITIES = {
    "conv1": 0.84, "conv2": 0.38, "conv3": 0.35, "conv4": 0.37, "conv5": 0.37, "fc6": 0.09,
    "fc7": 0.09, "fc8": 0.25,
}  # fmt: skip
"""Han et al., 2016, Table 4."""

_PUBLISHED_KEPT = {
    "conv1": "14,208", "fire2": "5,746", "fire3": "6,258", "fire4": "20,646", "fire5": "24,742",
    "fire6": "44,700", "fire7": "46,236", "fire8": "77,581", "fire9": "77,581", "conv10": "103,400",
}  # fmt: skip
_FIRE8 = (
    "the printed density of fire8's 3x3 filters, 33 %, gives {}; 30 %, as fire9 has, gives the "
    "printed {}"
)


def published_rows() -> Iterator[Row]:
    """SqueezeNet's parameters after pruning and its sizes at 8 and 6 bits; AlexNet's."""
    counts = count(SQUEEZENET[0].network())
    eight = estimate(counts, SQUEEZENET_DENSITIES, 8)
    system, how = "SqueezeNet, Deep Compression", "densities of Table 1, biases kept"
    for layer, published in _PUBLISHED_KEPT.items():
        kept = sum(s.kept for s in eight if _module(s) == layer)
        explanation = _FIRE8.format("82,005", "77,581") if layer == "fire8" else ""
        yield Row(system, f"parameters of {layer} after pruning", published, float(kept), how,
                  explanation)  # fmt: skip
    total = float(sum(s.kept for s in eight))
    yield Row(system, "parameters after pruning", "421,098", total, how,
              _FIRE8.format("425,522", "421,098"))  # fmt: skip
    as_printed = estimate(counts, {**SQUEEZENET_DENSITIES, "fire8/expand3x3": 0.3}, 8)
    yield Row(system, "parameters after pruning", "421,098",
              float(sum(s.kept for s in as_printed)), "fire8 at 30 %")  # fmt: skip
    for bits, published in ((8, "0.66 MB"), (6, "0.47 MB")):
        sizes = estimate(counts, {**SQUEEZENET_DENSITIES, "fire8/expand3x3": 0.3}, bits)
        yield from _size_rows(system, published, bits, sizes)
    yield from _alexnet()


def _module(size: CompressedSize) -> str:
    return size.name.split("/")[0]


def _size_rows(
    system: str, published: str, bits: int, sizes: tuple[CompressedSize, ...]
) -> Iterator[Row]:
    values = sum(s.value_bytes for s in sizes)
    indices = sum(s.kept for s in sizes) * 4 / 8
    fillers = sum(s.index_bytes for s in sizes) - indices
    codebooks = sum(s.codebook_bytes for s in sizes)
    yield Row(
        system, f"size at {bits} bits", published, values, f"values alone, {bits} bits each",
        f"4-bit positions add {indices / 1e6:.3f} MB",
    )  # fmt: skip
    yield Row(
        system, f"size at {bits} bits", published, values + indices,
        f"values at {bits} bits and positions at 4",
        f"fillers add {fillers / 1e6:.3f} MB and codebooks {codebooks / 1e6:.3f} MB; what else the "
        "published file holds, and whether Huffman coding is in it, is not printed",
    )  # fmt: skip


def _alexnet() -> Iterator[Row]:
    counts = count(ALEXNET[0].network())
    bits = {layer.name: 8 if layer.kind.startswith("conv") else 5 for layer in counts.layers}
    sizes = estimate(counts, ALEXNET_DENSITIES, bits)
    system = "AlexNet, Deep Compression"
    kept = sum(s.kept - x.biases for s, x in zip(sizes, counts.layers, strict=True))
    yield Row(
        system, "weights after pruning", "6.7M", float(kept), "densities of Table 4",
        "the printed densities are whole percents: fc6's alone leaves 0.19M open",
    )  # fmt: skip
    yield Row(
        system, "size", "6.9 MB",
        sum(s.value_bytes + s.index_bytes + s.codebook_bytes for s in sizes),
        "8 bits (convolutions), 5 bits (fully connected), positions at 4, fillers, codebooks",
        "the published size is after Huffman coding, which is left out here",
    )  # fmt: skip
