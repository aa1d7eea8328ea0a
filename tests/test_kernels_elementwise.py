# SPDX-License-Identifier: Apache-2.0
"""Sums and products of two maps by our kernels are TFLite's bytes, on the host and on cores."""

from __future__ import annotations

from pathlib import Path

import kernel_cases as cases
import numpy as np
from hypothesis import settings
from kernel_program import Case
from test_kernels import ALL, LAYERS, check, one_program, pytestmark, seeds

from mcudeploy.operators.kernels.elementwise import (
    add_exact_implementation,
    add_implementation,
    add_table,
    find_add_factors,
    mul_implementation,
)
from mcudeploy.operators.shapes import AddQuantization, MulQuantization

__all__ = ["pytestmark"]


@seeds
@one_program
def test_addition_gives_the_reference_bytes(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    program, expected = [], []
    while len(program) < LAYERS:
        q = cases.add_quantization(random)
        count = int(random.integers(1, 40))
        made = add_implementation(count, q, cases.M4F)
        if made is None:
            continue
        a, b = (random.integers(-128, 128, count).astype(np.int8) for _ in range(2))
        program.append(Case(made, (a, b), count))
        expected.append(add_table(q)[a.astype(int) + 128, b.astype(int) + 128].astype(np.int8))
    check(program, expected, tmp_path, ALL)


TIES = AddQuantization(-17, 1 << 30, 0, -6, 1802331003, -2, -7, 1932038864, -19)
"""Of a trained GRU: no factors, since ties on both sides of zero are rounded away from it."""


@seeds
@one_program
def test_addition_in_steps_gives_the_reference_bytes(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    assert find_add_factors(TIES) is None
    every = np.mgrid[-128:128, -128:128].astype(np.int8).reshape(2, -1)
    program, expected = [], []
    for q in (TIES, *(cases.add_quantization(random) for _ in range(LAYERS))):
        some = random.integers(-128, 128, (2, int(random.integers(1, 40)))).astype(np.int8)
        a, b = every if q is TIES else some
        made = add_exact_implementation(a.size, q, cases.M4F)
        program.append(Case(made, (a, b), a.size))
        expected.append(add_table(q)[a.astype(int) + 128, b.astype(int) + 128].astype(np.int8))
    check(program, expected, tmp_path, ALL)


@settings(max_examples=25, deadline=None)
@seeds
def test_factors_of_an_addition_give_its_whole_table(seed: int) -> None:
    q = cases.add_quantization(np.random.default_rng(seed))
    factors = find_add_factors(q)
    if factors is None:
        return
    values = np.arange(-128, 128, dtype=np.int64) * 256
    total = (
        factors.addend
        + (factors.factor1 * values >> 16)[:, None]
        + (factors.factor2 * values >> 16)[None, :]
    )
    assert np.abs(total).max() < 2**31
    clipped = np.clip(np.clip(total >> 21, -128, 127), q.activation_min, q.activation_max)
    np.testing.assert_array_equal(clipped, add_table(q))


@seeds
@one_program
def test_product_gives_the_reference_bytes(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    program, expected = [], []
    for _ in range(LAYERS):
        scale = float(2.0 ** random.uniform(-15, -2))
        base = cases.quantization(random, 200 / scale, 1)
        multiplier, shift = base.multipliers[0], base.shifts[0]
        q = MulQuantization(
            base.input_zero_point, cases.zero_point(random), base.output_zero_point,
            multiplier, shift, base.activation_min, base.activation_max,
        )  # fmt: skip
        count, repeats = int(random.integers(1, 20)), cases.pick(random, 1, 3)
        made = mul_implementation(count, q, cases.M4F, repeats=repeats)
        assert made is not None
        a = random.integers(-128, 128, (repeats, count)).astype(np.int8)
        b = random.integers(-128, 128, count).astype(np.int8)
        products = (a.astype(np.int64) - q.input1_zero_point) * (
            b.astype(np.int64) - q.input2_zero_point
        )
        result = cases.kernel_reference.requantize(products, multiplier, shift)
        truth = np.clip(result + q.output_zero_point, q.activation_min, q.activation_max)
        program.append(Case(made, (a, b), a.size))
        expected.append(truth.astype(np.int8).ravel())
    check(program, expected, tmp_path, ALL)
