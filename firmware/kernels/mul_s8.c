/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elementwise product. With DSP instructions two elements are extended and centred by one SXTAB16, multiplied by halves
 * with the start of the sum added, and requantized as convolutions are.
 */
#include "mul_s8.h"

#define SHIFT 5

typedef struct {
    const mcud_mul_s8_t *p;
    int32_t offset; /* of the exact sequence */
} multiplier;

static inline uint32_t multiply(const multiplier *m, int32_t x, int32_t y, int32_t fast)
{
    const mcud_mul_s8_t *const p = m->p;
    const int32_t product = x * y + p->start;
    const int32_t value =
        fast ? mcud_saturate8(mcud_high_mla(product, p->multiplier, p->addend) >> SHIFT)
             : mcud_requantize(product, p->multiplier, m->offset, p->addend);
    return (uint32_t)value & 0xFF;
}

#if MCUD_DSP

static inline int32_t low(uint32_t pair)
{
    return (int16_t)pair;
}

static inline int32_t high(uint32_t pair)
{
    return (int16_t)(pair >> 16);
}

/* Two int16 sums. */
static inline uint32_t add_pairs(uint32_t a, uint32_t b)
{
    uint32_t result;
    __asm__("sadd16 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
    return result;
}

#endif

static inline void multiply_row(const multiplier *m, const int8_t *in1, const int8_t *in2,
                                int8_t *out, int32_t count, int32_t fast)
{
    const mcud_mul_s8_t *const p = m->p;
#if MCUD_DSP
    const uint32_t minus1 = mcud_pair(-p->zero_point1, -p->zero_point1);
    const uint32_t minus2 = mcud_pair(-p->zero_point2, -p->zero_point2);
    const int8_t *const end = out + (count & ~3);
    for (; out < end; out += 4, in1 += 4, in2 += 4) {
        const uint32_t a = mcud_load4(in1);
        const uint32_t b = mcud_load4(in2);
        const uint32_t even1 = add_pairs(mcud_bytes02(a), minus1);
        const uint32_t even2 = add_pairs(mcud_bytes02(b), minus2);
        const uint32_t odd1 = add_pairs(mcud_bytes13(a), minus1);
        const uint32_t odd2 = add_pairs(mcud_bytes13(b), minus2);
        mcud_store4(out, multiply(m, low(even1), low(even2), fast)
                             | multiply(m, low(odd1), low(odd2), fast) << 8
                             | multiply(m, high(even1), high(even2), fast) << 16
                             | multiply(m, high(odd1), high(odd2), fast) << 24);
    }
    count &= 3;
#endif
    for (int32_t i = 0; i < count; i++) {
        out[i] = (int8_t)multiply(m, in1[i] - p->zero_point1, in2[i] - p->zero_point2, fast);
    }
}

void mcud_mul_s8(const mcud_mul_s8_t *p, const int8_t *in1, const int8_t *in2, int8_t *out,
                 int32_t count, int32_t repeats)
{
    const multiplier m = {p, p->fast ? 0 : mcud_requantize_offset(p->out_zero_point, p->addend)};
    for (; repeats > 0; repeats--, in1 += count, out += count) {
        if (p->fast) {
            multiply_row(&m, in1, in2, out, count, 1);
        } else {
            multiply_row(&m, in1, in2, out, count, 0);
        }
        if (p->clamp) {
            mcud_clamp_row(out, count, p->activation_min, p->activation_max);
        }
    }
}
