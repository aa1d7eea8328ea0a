/* SPDX-License-Identifier: Apache-2.0 */
#include "step_fully_connected_s8.h"

#include "fixed_point.h"
#include "mcud.h"

#define ROWS 4   /* of weights at a time: the input is widened once for them */
#define BLOCK 16 /* rows whose sums are begun and finished together */

typedef struct {
    int32_t multiplier;
    int32_t shift;
} multiplier_t;

/* scale * ratio as 31 bits and a shift; see the header. */
static inline multiplier_t row_multiplier(const mcud_step_fully_connected_s8_t *p, uint32_t scale)
{
    const uint32_t mantissa = (scale & 0x7FFFFFu) | 0x800000u;
    const uint64_t product =
        (uint64_t)mantissa * p->ratio_high + ((uint64_t)mantissa * p->ratio_low >> 32);
    const uint32_t top = (uint32_t)(product >> 24); /* 31 or 32 bits */
    multiplier_t result = { 0, p->exponent + (int32_t)(scale >> 23) - 127 };
    uint32_t rounded;

    if (top >> 31) {
        rounded = (top >> 1) + (top & 1u);
        result.shift++;
    } else {
        rounded = top + ((uint32_t)product >> 23 & 1u);
    }
    if (rounded >> 31) {
        rounded = 0x40000000u;
        result.shift++;
    }
    result.multiplier = (int32_t)rounded;
    return result;
}

/*
 * TFLite's MultiplyByQuantizedMultiplier for a multiplier above 0 and a sum below 2^30: y is the
 * high product, rounded; then y / 2^e, ties away from zero.
 */
static inline int32_t rescaled(int32_t total, multiplier_t by)
{
    const int32_t left = by.shift > 0 ? by.shift : 0;
    const int32_t shifted = (int32_t)((uint32_t)total << left);
    const int32_t y = (int32_t)(((int64_t)shifted * by.multiplier + (1 << 30)) >> 31);

    return by.shift < 0 ? (y + (1 << (-by.shift - 1)) + (y >> 31)) >> -by.shift : y;
}

#if MCUD_DSP

/* The sums of ROWS rows of weights with one input. */
static __attribute__((noinline)) void add_rows(const int8_t *w, int32_t in_c, const int8_t *x, int32_t *totals)
{
    int32_t a = totals[0];
    int32_t b = totals[1];
    int32_t c = totals[2];
    int32_t d = totals[3];
    int32_t i = 0;

    for (; i + 4 <= in_c; i += 4, w += 4) {
        const uint32_t word = mcud_load4(x + i);
        const uint32_t even = mcud_bytes02(word);
        const uint32_t odd = mcud_bytes13(word);
        const uint32_t one = mcud_load4(w);
        const uint32_t two = mcud_load4(w + in_c);
        const uint32_t three = mcud_load4(w + 2 * in_c);
        const uint32_t four = mcud_load4(w + 3 * in_c);

        a = mcud_dot2(even, mcud_bytes02(one), mcud_dot2(odd, mcud_bytes13(one), a));
        b = mcud_dot2(even, mcud_bytes02(two), mcud_dot2(odd, mcud_bytes13(two), b));
        c = mcud_dot2(even, mcud_bytes02(three), mcud_dot2(odd, mcud_bytes13(three), c));
        d = mcud_dot2(even, mcud_bytes02(four), mcud_dot2(odd, mcud_bytes13(four), d));
    }
    for (; i < in_c; i++, w++) {
        a += x[i] * w[0];
        b += x[i] * w[in_c];
        c += x[i] * w[2 * in_c];
        d += x[i] * w[3 * in_c];
    }
    totals[0] = a;
    totals[1] = b;
    totals[2] = c;
    totals[3] = d;
}

#else

static __attribute__((noinline)) void add_rows(const int8_t *w, int32_t in_c, const int8_t *x, int32_t *totals)
{
    int32_t a = totals[0];
    int32_t b = totals[1];
    int32_t c = totals[2];
    int32_t d = totals[3];

    for (int32_t i = 0; i < in_c; i++, w++) {
        const int32_t value = x[i];

        a += value * w[0];
        b += value * w[in_c];
        c += value * w[2 * in_c];
        d += value * w[3 * in_c];
    }
    totals[0] = a;
    totals[1] = b;
    totals[2] = c;
    totals[3] = d;
}

#endif

static int32_t add_row(const int8_t *w, int32_t in_c, const int8_t *x, int32_t total)
{
    for (int32_t i = 0; i < in_c; i++) {
        total += x[i] * w[i];
    }
    return total;
}

/* Functions of their own keep their loops in registers. */
#define APART __attribute__((noinline))

/* Where the sums of `count` rows from `row` on begin. */
APART static void begin_rows(const mcud_step_fully_connected_s8_t *p, int32_t row, int32_t count,
                             int32_t *totals)
{
    const int32_t *sums = p->sums + row;
    const int32_t zero_point = p->in_zero_point;

    for (int32_t i = 0; i < count; i++) {
        totals[i] = -zero_point * sums[i];
    }
    if (p->biases != NULL) {
        for (int32_t i = 0; i < count; i++) {
            totals[i] += p->biases[row + i];
        }
    }
}

/* The outputs of `count` sums, those of the rows from `row` on. */
APART static void store_rows(const mcud_step_fully_connected_s8_t *p, int32_t row, int32_t count,
                             const int32_t *totals, int8_t *out)
{
    const uint32_t *scale = p->scales + (p->per_row ? row : 0);
    const int32_t zero_point = p->out_zero_point;
    const int32_t low = p->activation_min;
    const int32_t high = p->activation_max;

    for (int32_t i = 0; i < count; i++) {
        const int32_t scaled = rescaled(totals[i], row_multiplier(p, *scale));

        out[row + i] = mcud_clamp_s8(mcud_wrapping_add(scaled, zero_point), low, high);
        scale += p->per_row;
    }
}

static void one_input(const mcud_step_fully_connected_s8_t *p, const int8_t *in, int8_t *out)
{
    int32_t totals[BLOCK];

    for (int32_t row = 0; row < p->out_c; row += BLOCK) {
        const int8_t *w = p->weights + row * p->in_c;
        const int32_t count = mcud_min(BLOCK, p->out_c - row);
        int32_t i = 0;

        begin_rows(p, row, count, totals);
        for (; i + ROWS <= count; i += ROWS) {
            add_rows(w + i * p->in_c, p->in_c, in, totals + i);
        }
        for (; i < count; i++) {
            totals[i] = add_row(w + i * p->in_c, p->in_c, in, totals[i]);
        }
        store_rows(p, row, count, totals, out);
    }
}

void mcud_step_fully_connected_s8(const mcud_step_fully_connected_s8_t *p, const int8_t *in,
                                  int8_t *out, int32_t rows)
{
    for (int32_t row = 0; row < rows; row++, in += p->in_c, out += p->out_c) {
        one_input(p, in, out);
    }
}
