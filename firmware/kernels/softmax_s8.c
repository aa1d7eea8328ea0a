/* SPDX-License-Identifier: Apache-2.0 */
#include "softmax_s8.h"

#include "fixed_point.h"
#include "mcud.h"

#define SUM_BITS 12 /* integer bits of the sum */
#define OUT_BITS 8  /* fraction bits of the output */

/* Of a difference below `entries`, in Q0.31. */
static inline int32_t exponential(const mcud_softmax_s8_t *p, int32_t difference)
{
    const int32_t half = mcud_high_mla(p->coarse[difference >> 4], p->fine[difference & 15], 0);
    return 2 * half + p->beyond[difference];
}

static void one_row(const mcud_softmax_s8_t *p, const int8_t *in, int8_t *out)
{
    const int8_t *const end = in + p->depth;
    int32_t greatest = INT8_MIN;
    uint32_t sum = 0;
    int32_t room = 0;

    for (const int8_t *x = in; x < end; x++) {
        greatest = *x > greatest ? *x : greatest;
    }
    for (const int8_t *x = in; x < end; x++) {
        const int32_t difference = greatest - *x;
        if (difference < p->entries) {
            sum += ((uint32_t)exponential(p, difference) + (1u << (SUM_BITS - 1))) >> SUM_BITS;
        }
    }
    /* The greatest value alone gives 2^19, and 256 of them 2^27. */
    for (; sum < 0x80000000u; sum <<= 1) {
        room++;
    }
    const int32_t scale = mcud_reciprocal_of_one_plus((int32_t)(sum - 0x80000000u));
    const int32_t shift = SUM_BITS - room + 31 - OUT_BITS;
    const uint32_t half = 1u << (shift - 1);

    for (const int8_t *x = in; x < end; x++) {
        const int32_t difference = greatest - *x;
        int32_t value = INT8_MIN;
        if (difference < p->entries) {
            const int64_t product = (int64_t)exponential(p, difference) * scale;
            value += (int32_t)(((uint32_t)((product + (1 << 30)) >> 31) + half) >> shift);
            value = value > INT8_MAX ? INT8_MAX : value;
        }
        *out++ = (int8_t)value;
    }
}

void mcud_softmax_s8(const mcud_softmax_s8_t *p, const int8_t *in, int8_t *out)
{
    for (int32_t row = 0; row < p->rows; row++) {
        one_row(p, in + row * p->depth, out + row * p->depth);
    }
}
