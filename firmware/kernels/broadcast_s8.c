/* SPDX-License-Identifier: Apache-2.0 */
#include "broadcast_s8.h"

#include "fixed_point.h"

typedef struct {
    const int8_t *a;
    const int8_t *b;
    int8_t *out;
    int32_t count;
    int32_t a_step;
    int32_t b_step;
} row_t;

typedef void (*row_function)(const mcud_binary_s8_t *q, row_t row);

/* Calls `function` for every row of the innermost dimension. */
static void for_each_row(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                         const int8_t *b, int8_t *out, row_function function)
{
    const int32_t *n = walk->extent;
    const int32_t *sa = walk->a_stride;
    const int32_t *sb = walk->b_stride;

    for (int32_t i = 0; i < n[0]; i++) {
        for (int32_t j = 0; j < n[1]; j++) {
            for (int32_t k = 0; k < n[2]; k++) {
                for (int32_t l = 0; l < n[3]; l++) {
                    const row_t row = {
                        a + i * sa[0] + j * sa[1] + k * sa[2] + l * sa[3],
                        b + i * sb[0] + j * sb[1] + k * sb[2] + l * sb[3],
                        out,
                        n[4],
                        sa[4],
                        sb[4],
                    };
                    function(q, row);
                    out += n[4];
                }
            }
        }
    }
}

static int8_t stored(const mcud_binary_s8_t *q, int32_t scaled)
{
    return mcud_clamp_s8(mcud_wrapping_add(scaled, q->out_zero_point), q->activation_min,
                         q->activation_max);
}

static int32_t rescaled_a(const mcud_binary_s8_t *q, int32_t a)
{
    return mcud_multiply((a - q->a_zero_point) * (1 << q->left_shift), q->a_multiplier, q->a_shift);
}

static int32_t rescaled_b(const mcud_binary_s8_t *q, int32_t b)
{
    return mcud_multiply((b - q->b_zero_point) * (1 << q->left_shift), q->b_multiplier, q->b_shift);
}

static int8_t rescaled_result(const mcud_binary_s8_t *q, int32_t result)
{
    return stored(q, mcud_multiply(result, q->out_multiplier, q->out_shift));
}

static void add_row(const mcud_binary_s8_t *q, row_t r)
{
    for (int32_t i = 0; i < r.count; i++, r.a += r.a_step, r.b += r.b_step) {
        r.out[i] = rescaled_result(q, rescaled_a(q, *r.a) + rescaled_b(q, *r.b));
    }
}

static void sub_row(const mcud_binary_s8_t *q, row_t r)
{
    for (int32_t i = 0; i < r.count; i++, r.a += r.a_step, r.b += r.b_step) {
        r.out[i] = rescaled_result(q, rescaled_a(q, *r.a) - rescaled_b(q, *r.b));
    }
}

static void squared_difference_row(const mcud_binary_s8_t *q, row_t r)
{
    for (int32_t i = 0; i < r.count; i++, r.a += r.a_step, r.b += r.b_step) {
        const int32_t difference = rescaled_a(q, *r.a) - rescaled_b(q, *r.b);
        r.out[i] = rescaled_result(q, difference * difference);
    }
}

static void mul_row(const mcud_binary_s8_t *q, row_t r)
{
    for (int32_t i = 0; i < r.count; i++, r.a += r.a_step, r.b += r.b_step) {
        r.out[i] = rescaled_result(q, (*r.a - q->a_zero_point) * (*r.b - q->b_zero_point));
    }
}

static void maximum_row(const mcud_binary_s8_t *q, row_t r)
{
    (void)q;
    for (int32_t i = 0; i < r.count; i++, r.a += r.a_step, r.b += r.b_step) {
        r.out[i] = *r.a > *r.b ? *r.a : *r.b;
    }
}

static void minimum_row(const mcud_binary_s8_t *q, row_t r)
{
    (void)q;
    for (int32_t i = 0; i < r.count; i++, r.a += r.a_step, r.b += r.b_step) {
        r.out[i] = *r.a < *r.b ? *r.a : *r.b;
    }
}

static void prelu_row(const mcud_binary_s8_t *q, row_t r)
{
    for (int32_t i = 0; i < r.count; i++, r.a += r.a_step, r.b += r.b_step) {
        const int32_t a = *r.a - q->a_zero_point;
        const int32_t b = *r.b - q->b_zero_point;
        r.out[i] = stored(q, a >= 0 ? mcud_multiply(a, q->a_multiplier, q->a_shift)
                                    : mcud_multiply(a * b, q->b_multiplier, q->b_shift));
    }
}

/* Bits that x can be shifted left without losing its sign. */
static int32_t headroom(int32_t x)
{
    uint32_t magnitude = x < 0 ? ~(uint32_t)x : (uint32_t)x;
    int32_t bits = 0;

    while (bits < 31 && (magnitude & 0x40000000u) == 0) {
        magnitude <<= 1;
        bits++;
    }
    return bits;
}

/*
 * x / 2^exponent for 0 <= exponent < 64. From 32 on the reference's rounding has a mask of all
 * ones and shifts by the exponent's low five bits: that is what this gives, odd as it is.
 */
static int32_t divide_far(int32_t x, int32_t exponent)
{
    if (exponent <= 31) {
        return mcud_divide_by_power(x, exponent);
    }
    return (x >> (exponent & 31)) + (x >= 0 ? 1 : 0);
}

/* What the reference's steps towards 1 / b end with where b is 0, with wrapping additions. */
#define RECIPROCAL_OF_ZERO (-1515870788)

static int8_t quotient(const mcud_binary_s8_t *q, int32_t a, int32_t b)
{
    int32_t inverse = RECIPROCAL_OF_ZERO;

    if (b < 0) {
        a = -a;
        b = -b;
    }
    const int32_t normal = headroom(b) + 1;
    if (b > 0) {
        inverse = mcud_reciprocal_of_one_plus((int32_t)(((uint32_t)b << normal) - 0x80000000u));
    }
    const int32_t room = headroom(a);
    const int32_t unscaled = mcud_high_multiply((int32_t)((uint32_t)a << room), inverse);
    const int32_t shift = q->out_shift - (31 - normal) - room;

    return stored(q, divide_far(mcud_high_multiply(unscaled, q->out_multiplier), -shift));
}

static void div_row(const mcud_binary_s8_t *q, row_t r)
{
    for (int32_t i = 0; i < r.count; i++, r.a += r.a_step, r.b += r.b_step) {
        r.out[i] = quotient(q, *r.a - q->a_zero_point, *r.b - q->b_zero_point);
    }
}

void mcud_broadcast_add_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                 const int8_t *b, int8_t *out)
{
    for_each_row(walk, q, a, b, out, add_row);
}

void mcud_broadcast_sub_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                 const int8_t *b, int8_t *out)
{
    for_each_row(walk, q, a, b, out, sub_row);
}

void mcud_broadcast_mul_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                 const int8_t *b, int8_t *out)
{
    for_each_row(walk, q, a, b, out, mul_row);
}

void mcud_broadcast_div_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                 const int8_t *b, int8_t *out)
{
    for_each_row(walk, q, a, b, out, div_row);
}

void mcud_broadcast_maximum_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                     const int8_t *b, int8_t *out)
{
    for_each_row(walk, q, a, b, out, maximum_row);
}

void mcud_broadcast_minimum_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                     const int8_t *b, int8_t *out)
{
    for_each_row(walk, q, a, b, out, minimum_row);
}

void mcud_broadcast_squared_difference_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q,
                                const int8_t *a, const int8_t *b, int8_t *out)
{
    for_each_row(walk, q, a, b, out, squared_difference_row);
}

void mcud_broadcast_prelu_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                   const int8_t *b, int8_t *out)
{
    for_each_row(walk, q, a, b, out, prelu_row);
}
