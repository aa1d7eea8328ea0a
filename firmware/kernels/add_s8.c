/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addition of two quantized maps in three instructions an element.
 *
 * TFLite scales both inputs to a common 2^-20 grid, adds and scales again; over the 65,536 pairs
 * of int8 that is a fixed table, and the compiler of the network has found factors that give the
 * same table by
 *     t = addend + ((factor1 * (in1 * 256)) >> 16)       SMLAWB, SMLAWT
 *     t = t      + ((factor2 * (in2 * 256)) >> 16)
 *     out = saturate8(t >> 21)                           SSAT
 * Bytes times 256 are the odd bytes of a word as they lie, and its even bytes shifted: one AND for
 * two elements.
 */
#include "add_s8.h"

#if MCUD_DSP

/* add + ((factor * low half of x) >> 16), and with the high half. */
static inline int32_t add_low(int32_t factor, uint32_t x, int32_t add)
{
    int32_t result;
    __asm__("smlawb %0, %1, %2, %3" : "=r"(result) : "r"(factor), "r"(x), "r"(add));
    return result;
}

static inline int32_t add_high(int32_t factor, uint32_t x, int32_t add)
{
    int32_t result;
    __asm__("smlawt %0, %1, %2, %3" : "=r"(result) : "r"(factor), "r"(x), "r"(add));
    return result;
}

static inline int32_t shift_and_saturate(int32_t value)
{
    int32_t result;
    __asm__("ssat %0, #8, %1, asr #21" : "=r"(result) : "r"(value));
    return result;
}

static inline uint32_t low_byte(int32_t value)
{
    return (uint32_t)value & 0xFF;
}

/* All outputs, and where they end. */
static int8_t *add_all(const mcud_add_s8_t *p, const int8_t *in1, const int8_t *in2, int8_t *out,
                       int32_t count)
{
    const int32_t factor1 = p->factor1;
    const int32_t factor2 = p->factor2;
    const int32_t addend = p->addend;
    int8_t *const end = out + (count & ~3);
    for (; out < end; out += 4, in1 += 4, in2 += 4) {
        const uint32_t a = mcud_load4(in1);
        const uint32_t b = mcud_load4(in2);
        const uint32_t odd1 = a & 0xFF00FF00u;
        const uint32_t odd2 = b & 0xFF00FF00u;
        const uint32_t even1 = a << 8 & 0xFF00FF00u;
        const uint32_t even2 = b << 8 & 0xFF00FF00u;
        const int32_t v0 = add_low(factor2, even2, add_low(factor1, even1, addend));
        const int32_t v1 = add_low(factor2, odd2, add_low(factor1, odd1, addend));
        const int32_t v2 = add_high(factor2, even2, add_high(factor1, even1, addend));
        const int32_t v3 = add_high(factor2, odd2, add_high(factor1, odd1, addend));
        mcud_store4(out, low_byte(shift_and_saturate(v0)) | low_byte(shift_and_saturate(v1)) << 8
                             | low_byte(shift_and_saturate(v2)) << 16
                             | low_byte(shift_and_saturate(v3)) << 24);
    }
    for (int32_t i = 0; i < (count & 3); i++) {
        const int32_t v = add_low(factor1, (uint32_t)in1[i] << 8, addend);
        out[i] = (int8_t)shift_and_saturate(add_low(factor2, (uint32_t)in2[i] << 8, v));
    }
    return out + (count & 3);
}

#else

/* (factor * 256 * x) >> 16 without a long product. */
static inline int32_t scaled(int32_t high, int32_t low, int32_t x)
{
    return high * x + (low * x >> 8);
}

static int8_t *add_all(const mcud_add_s8_t *p, const int8_t *in1, const int8_t *in2, int8_t *out,
                       int32_t count)
{
    const int32_t high1 = p->factor1 >> 8;
    const int32_t high2 = p->factor2 >> 8;
    const int32_t low1 = p->factor1 & 0xFF;
    const int32_t low2 = p->factor2 & 0xFF;
    for (const int8_t *const end = out + count; out < end; out++, in1++, in2++) {
        const int32_t sum = p->addend + scaled(high1, low1, *in1) + scaled(high2, low2, *in2);
        *out = (int8_t)mcud_saturate8(sum >> 21);
    }
    return out;
}

#endif

void mcud_add_s8(const mcud_add_s8_t *p, const int8_t *in1, const int8_t *in2, int8_t *out,
                 int32_t count)
{
    int8_t *const end = add_all(p, in1, in2, out, count);
    if (p->clamp) {
        mcud_clamp_row(end - count, count, p->activation_min, p->activation_max);
    }
}
