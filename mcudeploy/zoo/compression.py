# SPDX-License-Identifier: Apache-2.0
"""Deep Compression as a calculation: Han, Mao and Dally, ICLR 2016, arXiv:1510.00149.

Three steps shrink a layer: magnitude pruning to a density, weights shared through a codebook of
2^bits values, and positions stored as distances to the last kept weight in `index_bits` bits. A
distance too long for its bits costs a filler: a stored zero. `estimate` computes the sizes from
densities alone, `compress` does it to real weights and tells the error, so that the accuracy of
what is left can be measured. Nothing is retrained, and Huffman coding is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mcudeploy.errors import InputError
from mcudeploy.zoo.counting import Counts

Weights = npt.NDArray[np.float32]
_MOST_BITS = 16


@dataclass(frozen=True)
class CompressedSize:
    """What one layer takes. Bytes are exact fractions of bits, not rounded up."""

    name: str
    weights: int
    kept: int
    """Weights that pruning keeps, rounded up, and all biases."""
    fillers: float
    """Zeros stored because a distance overflowed its bits."""
    value_bytes: float
    """The kept values alone, `bits` each."""
    index_bytes: float
    """Distances of the kept values; fillers, with value and distance."""
    codebook_bytes: float


def layer_size(
    name: str, weights: int, biases: int, density: float, bits: int, index_bits: int,
    codebook_entry_bytes: int = 4,
) -> CompressedSize:  # fmt: skip
    """The size of a layer pruned at random to `density`; index_bits 0 leaves positions out.

    The chance that a gap reaches 2^index_bits is (1 - density)^(2^index_bits), and so on for each
    further overflow: a geometric series. Raises InputError for a density outside 0 to 1.
    """
    _check(density, bits)
    kept = math.ceil(round(weights * density, 6)) + biases
    fillers = 0.0
    if 0 < density < 1 and index_bits:
        overflow = (1 - density) ** (2**index_bits)
        fillers = weights * density * overflow / (1 - overflow)
    return CompressedSize(
        name, weights, kept, fillers, kept * bits / 8,
        (kept * index_bits + fillers * (bits + index_bits)) / 8, 2**bits * codebook_entry_bytes,
    )  # fmt: skip


def _check(density: float, bits: int) -> None:
    if not 0 <= density <= 1:
        raise InputError(f"a density of {density} is not between 0 and 1", where="compression")
    if not 1 <= bits <= _MOST_BITS:
        raise InputError(
            f"{bits} bits a weight is not between 1 and {_MOST_BITS}", where="compression"
        )


def estimate(
    counts: Counts, densities: Mapping[str, float], bits: int | Mapping[str, int],
    index_bits: int = 4,
) -> tuple[CompressedSize, ...]:  # fmt: skip
    """The sizes of a network's layers; a layer that `densities` does not name is kept whole.

    Raises InputError for a name that the network lacks.
    """
    known = {layer.name for layer in counts.layers}
    for name in densities:
        if name not in known:
            raise InputError(f"no layer {name!r} to prune", where="compression",
                             mend=f"layers are {', '.join(sorted(known))}")  # fmt: skip
    return tuple(
        layer_size(
            layer.name, layer.kernels, layer.biases, densities.get(layer.name, 1.0),
            bits if isinstance(bits, int) else bits[layer.name], index_bits,
        )
        for layer in counts.layers
    )  # fmt: skip


def prune(weights: Weights, density: float) -> Weights:
    """`weights` with all but the largest `density` of them (by magnitude) set to zero."""
    _check(density, 1)
    kept = round(weights.size * density)
    result = np.zeros_like(weights)
    if kept:
        order = np.argpartition(-np.abs(weights), kept - 1, axis=None)[:kept]
        result.flat[order] = weights.flat[order]
    return result


def share(weights: Weights, bits: int, rounds: int = 20) -> Weights:
    """Non-zero weights moved to the nearest of 2^bits shared values (k-means, linear start)."""
    _check(1.0, bits)
    values = weights[weights != 0]
    if values.size == 0:
        return weights.copy()
    centres = np.linspace(values.min(), values.max(), 2**bits)
    for _ in range(rounds):
        nearest = _nearest(values, centres)
        sums = np.bincount(nearest, values, centres.size)
        sizes = np.bincount(nearest, minlength=centres.size)
        moved = np.where(sizes > 0, sums / np.maximum(sizes, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = np.sort(moved)
    result = weights.copy()
    result[weights != 0] = centres[_nearest(values, centres)]
    return result


def _nearest(values: npt.NDArray[Any], centres: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, values)


def count_fillers(weights: Weights, index_bits: int) -> int:
    """The zeros that real positions need, in the array's own order."""
    positions = np.flatnonzero(weights)
    gaps = np.diff(positions, prepend=-1) - 1
    return int((gaps >> index_bits).sum())


@dataclass(frozen=True, eq=False)
class Compressed:
    """A layer after pruning and sharing: the weights to put back, their error, their size."""

    weights: Weights
    rms_error: float
    """Root mean square of what changed, relative to that of the weights."""
    bytes: float


def compress(weights: Weights, density: float, bits: int, index_bits: int = 4) -> Compressed:
    """Prunes and shares real float32 weights; put the result back to measure accuracy."""
    result = share(prune(weights, density), bits)
    scale = math.sqrt(float(np.mean(weights**2))) or 1.0
    error = math.sqrt(float(np.mean((result - weights) ** 2))) / scale
    stored = np.count_nonzero(result) + count_fillers(result, index_bits)
    return Compressed(result, error, stored * (bits + index_bits) / 8 + 4 * 2**bits)
