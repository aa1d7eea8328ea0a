/* SPDX-License-Identifier: Apache-2.0 */
#include "step_fully_connected_s8.h"

#include "fixed_point.h"
#include "mcud.h"

#define ROWS 4 /* of weights at a time: the input is widened once for them */

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

#if MCUD_DSP

/* The sums of ROWS rows of weights with one input. */
static void add_rows(const int8_t *w, int32_t in_c, const int8_t *x, int32_t *totals)
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

static void add_rows(const int8_t *w, int32_t in_c, const int8_t *x, int32_t *totals)
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

static void one_input(const mcud_step_fully_connected_s8_t *p, const int8_t *in, int8_t *out)
{
    multiplier_t by = row_multiplier(p, p->scales[0]);

    for (int32_t row = 0; row < p->out_c; row += ROWS) {
        const int8_t *w = p->weights + row * p->in_c;
        const int32_t count = mcud_min(ROWS, p->out_c - row);
        int32_t totals[ROWS];

        for (int32_t i = 0; i < count; i++) {
            totals[i] = -p->in_zero_point * p->sums[row + i];
            if (p->biases != NULL) {
                totals[i] += p->biases[row + i];
            }
        }
        if (count == ROWS) {
            add_rows(w, p->in_c, in, totals);
        } else {
            for (int32_t i = 0; i < count; i++) {
                totals[i] = add_row(w + i * p->in_c, p->in_c, in, totals[i]);
            }
        }
        for (int32_t i = 0; i < count; i++) {
            if (p->per_row) {
                by = row_multiplier(p, p->scales[row + i]);
            }
            const int32_t scaled = mcud_multiply(totals[i], by.multiplier, by.shift);
            out[row + i] = mcud_clamp_s8(mcud_wrapping_add(scaled, p->out_zero_point),
                                         p->activation_min, p->activation_max);
        }
    }
}

void mcud_step_fully_connected_s8(const mcud_step_fully_connected_s8_t *p, const int8_t *in,
                                  int8_t *out, int32_t rows)
{
    for (int32_t row = 0; row < rows; row++, in += p->in_c, out += p->out_c) {
        one_input(p, in, out);
    }
}
