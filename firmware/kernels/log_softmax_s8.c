/* SPDX-License-Identifier: Apache-2.0 */
#include "log_softmax_s8.h"

#include "fixed_point.h"

#define SUM_BITS 12 /* integer bits of the sum */
#define WIDE_BITS 6 /* integer bits while the logarithm is computed, one more than it has */

/* Q0.31 */
#define LOG_2 1488522236
#define ROOT_4_HALF 1805811301 /* 0.5^(1/4) */
#define ROOT_HALF 1518500250   /* 0.5^(1/2) */
#define QUARTER (1 << 29)
#define ALPHA_N 117049297  /* 11/240 * 2^(1/4) */
#define ALPHA_D 127690142  /* 1/20 * 2^(1/4) */
#define ALPHA_I 1057819769 /* 2 / 2^(1/4) - 2^(1/4) */
#define ALPHA_F 638450708  /* 1/4 * 2^(1/4) */

static int32_t saturated(int64_t x)
{
    return (int32_t)(x < INT32_MIN ? INT32_MIN : (x > INT32_MAX ? INT32_MAX : x));
}

/* x * 2^exponent, saturated to the left and rounded to the right. */
static int32_t times_power(int32_t x, int32_t exponent)
{
    return exponent < 0 ? mcud_divide_by_power(x, -exponent)
                        : saturated((int64_t)x * ((int64_t)1 << exponent));
}

static int32_t leading_zeros(uint32_t x)
{
    int32_t count = 0;

    while (count < 32 && (x & 0x80000000u) == 0) {
        x <<= 1;
        count++;
    }
    return count;
}

/*
 * log(x) in Q5.26 of x >= 1 in Q12.19. x = r * 2^k with r around 1, its logarithm by a quotient of
 * polynomials in r - 0.5^(1/4); k counts quarters, whichever of two ways keeps r nearer.
 */
static int32_t logarithm(int32_t x)
{
    const int32_t quarter = mcud_divide_by_power(QUARTER, WIDE_BITS);
    const int32_t a_room = leading_zeros((uint32_t)x);
    const int32_t a_tried = mcud_high_multiply(times_power(x, a_room - 1), ROOT_HALF);
    const int32_t a_r = times_power(a_tried, 1);
    const int32_t a_power =
        saturated((int64_t)times_power(SUM_BITS - a_room, 31 - WIDE_BITS) + quarter);
    const int32_t b_room = leading_zeros((uint32_t)mcud_high_multiply(x, ROOT_HALF)) - 1;
    const int32_t b_r = times_power(x, b_room);
    const int32_t b_power =
        saturated((int64_t)times_power(SUM_BITS - b_room, 31 - WIDE_BITS) - quarter);
    const int32_t r = a_r < b_r ? a_r : b_r;
    const int32_t power = a_power > b_power ? a_power : b_power;

    const int64_t twice_p = (int64_t)r + ROOT_4_HALF;
    const int32_t p = (int32_t)((twice_p + (twice_p >= 0 ? 1 : -1)) / 2);
    const int32_t q = mcud_wrapping_add(r - ROOT_4_HALF, r - ROOT_4_HALF);
    const int32_t square = mcud_high_multiply(q, q);
    const int32_t cubic = mcud_high_multiply(mcud_high_multiply(q, square), ALPHA_N);
    const int32_t numerator = mcud_wrapping_add(mcud_high_multiply(q, r), cubic);
    const int32_t inner = mcud_wrapping_add(mcud_wrapping_add(ALPHA_I, q),
                                            mcud_high_multiply(ALPHA_D, square));
    const int32_t denominator =
        mcud_wrapping_add(mcud_high_multiply(p, inner), mcud_high_multiply(ALPHA_F, q));
    const int32_t quotient = mcud_high_multiply(mcud_divide_by_power(numerator, WIDE_BITS),
                                                mcud_reciprocal_of_one_plus(denominator));

    return times_power(mcud_wrapping_add(mcud_high_multiply(power, LOG_2), quotient), 1);
}

static void one_row(const mcud_log_softmax_s8_t *p, const int8_t *in, int8_t *out)
{
    int32_t greatest = INT8_MIN;
    int32_t sum = 0;

    for (int32_t i = 0; i < p->depth; i++) {
        greatest = in[i] > greatest ? in[i] : greatest;
    }
    for (int32_t i = 0; i < p->depth; i++) {
        sum = mcud_wrapping_add(sum, p->exponentials[greatest - in[i]]);
    }
    const int32_t log_sum = logarithm(sum);
    const int32_t reached =
        mcud_multiply(mcud_wrapping_add(log_sum, INT32_MIN), p->reverse_multiplier, p->reverse_shift);
    const int32_t least = p->diff_min - 1 > reached ? p->diff_min - 1 : reached;

    for (int32_t i = 0; i < p->depth; i++) {
        const int32_t difference = in[i] - greatest;
        if (difference <= least) {
            out[i] = INT8_MIN;
            continue;
        }
        const int32_t scaled = mcud_multiply(difference, p->multiplier, p->shift);
        out[i] = mcud_clamp_s8(mcud_divide_by_power(scaled - log_sum, 22) + 127, -128, 127);
    }
}

void mcud_log_softmax_s8(const mcud_log_softmax_s8_t *p, const int8_t *in, int8_t *out)
{
    for (int32_t row = 0; row < p->rows; row++) {
        one_row(p, in + row * p->depth, out + row * p->depth);
    }
}
