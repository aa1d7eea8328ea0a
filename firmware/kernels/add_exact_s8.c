/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addition of two quantized maps with TFLite's double rounding (RoundingDivideByPOT after
 * SaturatingRoundingDoublingHighMul, as in mcud.h) of either input and of their sum.
 */
#include "add_exact_s8.h"

#define LEFT_SHIFT 20

/* x * m / 2^(31 + e); `half` is 2^(e - 1). */
static inline int32_t rescaled(int32_t x, int32_t doubled, int32_t half, int32_t e)
{
    const int32_t y = mcud_high_mla_rounded(x, doubled, x);
    return (y + (y >> 31) + half) >> e;
}

void mcud_add_exact_s8(const mcud_add_exact_s8_t *p, const int8_t *in1, const int8_t *in2,
                       int8_t *out, int32_t count)
{
    const int32_t zero1 = p->zero_point1 * (1 << LEFT_SHIFT);
    const int32_t zero2 = p->zero_point2 * (1 << LEFT_SHIFT);
    const int32_t half1 = 1 << (p->exponent1 - 1);
    const int32_t half2 = 1 << (p->exponent2 - 1);
    const int32_t offset = mcud_requantize_offset(p->zero_point_out, p->exponent_out);

    for (int32_t i = 0; i < count; i++) {
        const int32_t x1 = in1[i] * (1 << LEFT_SHIFT) - zero1;
        const int32_t x2 = in2[i] * (1 << LEFT_SHIFT) - zero2;
        const int32_t sum = rescaled(x1, p->doubled1, half1, p->exponent1)
                            + rescaled(x2, p->doubled2, half2, p->exponent2);
        out[i] = (int8_t)mcud_requantize(sum, p->doubled_out, offset, p->exponent_out);
    }
    if (p->clamp) {
        mcud_clamp_row(out, count, p->activation_min, p->activation_max);
    }
}
