# SPDX-License-Identifier: Apache-2.0
"""Deep Compression and low-rank factorization as calculations, against what arrays really do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcudeploy import zoo
from mcudeploy.errors import InputError
from mcudeploy.graph import formulas
from mcudeploy.zoo.compression import (
    compress,
    count_fillers,
    estimate,
    layer_size,
    prune,
    share,
)
from mcudeploy.zoo.factorization import break_even_rank, factorize

RANDOM = np.random.default_rng(7)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.floats(0, 1))
def test_pruning_keeps_the_largest_weights(size: int, density: float) -> None:
    weights = np.random.default_rng(size).normal(size=size).astype(np.float32)
    pruned = prune(weights, density)
    kept = round(size * density)
    assert np.count_nonzero(pruned) == kept
    assert np.all((pruned == 0) | (pruned == weights))
    if 0 < kept < size:
        assert np.abs(pruned[pruned != 0]).min() >= np.abs(weights[pruned == 0]).max()


@pytest.mark.parametrize("bits", [1, 2, 4, 6])
def test_sharing_leaves_at_most_a_codebook_of_values_and_keeps_zeros(bits: int) -> None:
    weights = prune(RANDOM.normal(size=(3, 3, 16, 8)).astype(np.float32), 0.4)
    shared = share(weights, bits)
    assert np.array_equal(shared == 0, weights == 0)
    assert len(np.unique(shared[shared != 0])) <= 2**bits


def test_more_bits_and_more_weights_cost_less_accuracy_and_more_bytes() -> None:
    weights = RANDOM.normal(size=4096).astype(np.float32)
    by_bits = [compress(weights, 0.5, bits) for bits in (2, 4, 8)]
    assert by_bits[0].rms_error > by_bits[1].rms_error > by_bits[2].rms_error
    assert by_bits[0].bytes < by_bits[1].bytes < by_bits[2].bytes
    by_density = [compress(weights, density, 6) for density in (0.1, 0.5, 1.0)]
    assert by_density[0].rms_error > by_density[1].rms_error > by_density[2].rms_error


def test_fillers_by_hand() -> None:
    weights = np.zeros(40, np.float32)
    weights[[0, 15, 32]] = 1
    assert count_fillers(weights, 4) == 1, "gaps of 0, 14 and 16 zeros; 4 bits reach 15"
    assert count_fillers(weights, 3) == 3


@pytest.mark.parametrize("density", [0.05, 0.09, 0.2, 0.33])
def test_the_estimate_predicts_the_fillers_of_randomly_pruned_weights(density: float) -> None:
    size = 400_000
    mask = (RANDOM.random(size) < density).astype(np.float32)
    predicted = layer_size("x", size, 0, density, 8, 4).fillers
    assert count_fillers(mask, 4) == pytest.approx(predicted, rel=0.1, abs=30)


def test_a_layer_kept_whole_takes_its_values_and_positions() -> None:
    size = layer_size("x", 1000, 10, 1.0, 8, 4)
    assert (size.kept, size.fillers, size.value_bytes, size.index_bytes) == (1010, 0, 1010, 505)
    assert layer_size("x", 1000, 10, 1.0, 8, 0).index_bytes == 0


def test_bad_densities_bits_and_names_are_refused() -> None:
    with pytest.raises(InputError, match="density"):
        layer_size("x", 10, 0, 1.5, 8, 4)
    with pytest.raises(InputError, match="bits"):
        layer_size("x", 10, 0, 0.5, 40, 4)
    with pytest.raises(InputError, match="no layer 'fire2'"):
        estimate(zoo.counts("squeezenet"), {"fire2": 0.3}, 8)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(1, 6), st.data())
def test_factors_of_full_rank_lose_nothing_and_the_error_is_as_said(
    r: int, s: int, c: int, m: int, data: st.DataObject
) -> None:
    weights = np.random.default_rng(r * s * c * m).normal(size=(r, s, c, m))
    full = min(r * c, s * m)
    exact = factorize(weights, full)
    assert np.allclose(exact.product(), weights)
    rank = data.draw(st.integers(1, full))
    factors = factorize(weights, rank)
    error = np.sqrt(np.mean((factors.product() - weights) ** 2) / np.mean(weights**2))
    assert factors.error == pytest.approx(error, abs=1e-9)


def test_a_separable_kernel_takes_2k_multiplications_instead_of_k_squared() -> None:
    kernel = np.outer([1.0, 2, 1], [1.0, 0, -1]).reshape(3, 3, 1, 1)
    factors = factorize(kernel, 1)
    assert factors.error == pytest.approx(0, abs=1e-12)
    assert factors.cost(1, 1).macs == 6
    assert formulas.convolution(1, 1, 3, 3, 1, 1).macs == 9
    assert formulas.spatially_separable(1, 1, 3, 3).macs == 6


def test_the_break_even_rank_is_the_last_that_pays() -> None:
    plain = formulas.convolution(7, 7, 3, 3, 16, 32).macs
    weights = RANDOM.normal(size=(3, 3, 16, 32))
    rank = break_even_rank(3, 3, 16, 32)
    assert factorize(weights, rank).cost(7, 7).macs < plain
    assert factorize(weights, rank + 1).cost(7, 7).macs >= plain
    with pytest.raises(InputError, match="rank 0"):
        factorize(weights, 0)
