/* SPDX-License-Identifier: Apache-2.0
 *
 * TFLite's requantization for any multiplier and shift, exact to the bit: gemmlowp's
 * SaturatingRoundingDoublingHighMul and RoundingDivideByPOT, rounding twice.
 */
#ifndef MCUDEPLOY_FIXED_POINT_H
#define MCUDEPLOY_FIXED_POINT_H

#include <stdint.h>

/* 2 * a * b / 2^32, rounded half up; saturates where both are -2^31. */
static inline int32_t mcud_high_multiply(int32_t a, int32_t b)
{
    if (a == INT32_MIN && b == INT32_MIN) {
        return INT32_MAX;
    }
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* x / 2^exponent, rounded half away from zero; 0 <= exponent <= 31. */
static inline int32_t mcud_divide_by_power(int32_t x, int32_t exponent)
{
    const int32_t mask = (int32_t)(((int64_t)1 << exponent) - 1);
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);

    return (x >> exponent) + ((x & mask) > threshold ? 1 : 0);
}

/* x * multiplier * 2^(shift - 31); a positive shift goes left first, as a 32-bit register would. */
static inline int32_t mcud_multiply(int32_t x, int32_t multiplier, int32_t shift)
{
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t shifted = (int32_t)((uint32_t)x << left);

    return mcud_divide_by_power(mcud_high_multiply(shifted, multiplier), left - shift);
}

/*
 * 1 / (1 + x / 2^31) with 31 fraction bits for 0 <= x < 2^31: three Newton-Raphson steps from
 * 48/17 - 32/17 d, with 2 integer bits, where d = (1 + x) / 2.
 */
static inline int32_t mcud_reciprocal_of_one_plus(int32_t x)
{
    const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t estimate = 1515870810 + mcud_high_multiply(half, -1010580540);

    for (int32_t i = 0; i < 3; i++) {
        const int32_t error = (1 << 29) - mcud_high_multiply(half, estimate);
        estimate += mcud_high_multiply(estimate, error) * 4;
    }
    return estimate > INT32_MAX / 2 ? INT32_MAX : estimate * 2;
}

/* x + y as a 32-bit register adds. */
static inline int32_t mcud_wrapping_add(int32_t x, int32_t y)
{
    return (int32_t)((uint32_t)x + (uint32_t)y);
}

static inline int8_t mcud_clamp_s8(int32_t x, int32_t low, int32_t high)
{
    return (int8_t)(x < low ? low : (x > high ? high : x));
}

#endif
