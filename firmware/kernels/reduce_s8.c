/* SPDX-License-Identifier: Apache-2.0 */
#include "reduce_s8.h"

#include "fixed_point.h"

/* The input of the output with number `index`. */
static const int8_t *source(const mcud_reduce_t *walk, const int8_t *in, int32_t index)
{
    for (int32_t dim = MCUD_REDUCE_DIMS - 1; dim >= 0; dim--) {
        in += index % walk->kept[dim] * walk->kept_stride[dim];
        index /= walk->kept[dim];
    }
    return in;
}

static int32_t outputs(const mcud_reduce_t *walk)
{
    return walk->kept[0] * walk->kept[1] * walk->kept[2];
}

static int32_t sum(const mcud_reduce_t *walk, const int8_t *in)
{
    const int32_t *n = walk->reduced;
    const int32_t *s = walk->reduced_stride;
    int32_t total = 0;

    for (int32_t i = 0; i < n[0]; i++) {
        for (int32_t j = 0; j < n[1]; j++) {
            const int8_t *from = in + i * s[0] + j * s[1];
            for (int32_t k = 0; k < n[2]; k++) {
                total += *from;
                from += s[2];
            }
        }
    }
    return total;
}

/* The greatest of sign * element. */
static int32_t extreme(const mcud_reduce_t *walk, const int8_t *in, int32_t sign)
{
    const int32_t *n = walk->reduced;
    const int32_t *s = walk->reduced_stride;
    int32_t best = INT32_MIN;

    for (int32_t i = 0; i < n[0]; i++) {
        for (int32_t j = 0; j < n[1]; j++) {
            const int8_t *from = in + i * s[0] + j * s[1];
            for (int32_t k = 0; k < n[2]; k++) {
                const int32_t value = sign * *from;
                best = value > best ? value : best;
                from += s[2];
            }
        }
    }
    return best;
}

static int32_t place(const mcud_reduce_t *walk, const int8_t *in, int32_t sign)
{
    int32_t best = INT32_MIN;
    int32_t found = 0;

    for (int32_t k = 0; k < walk->reduced[2]; k++) {
        const int32_t value = sign * in[k * walk->reduced_stride[2]];
        if (value > best) {
            best = value;
            found = k;
        }
    }
    return found;
}

void mcud_reduce_sum_s8(const mcud_reduce_t *walk, const mcud_reduce_sum_s8_t *q, const int8_t *in,
                        int8_t *out)
{
    const int32_t count = outputs(walk);

    for (int32_t i = 0; i < count; i++) {
        const int32_t total = sum(walk, source(walk, in, i)) - q->in_offset;
        const int32_t scaled = mcud_multiply(total, q->multiplier, q->shift);
        out[i] = mcud_clamp_s8(mcud_wrapping_add(scaled, q->out_zero_point), -128, 127);
    }
}

void mcud_reduce_max_s8(const mcud_reduce_t *walk, const int8_t *in, int8_t *out)
{
    const int32_t count = outputs(walk);

    for (int32_t i = 0; i < count; i++) {
        out[i] = (int8_t)extreme(walk, source(walk, in, i), 1);
    }
}

void mcud_reduce_min_s8(const mcud_reduce_t *walk, const int8_t *in, int8_t *out)
{
    const int32_t count = outputs(walk);

    for (int32_t i = 0; i < count; i++) {
        out[i] = (int8_t)-extreme(walk, source(walk, in, i), -1);
    }
}

void mcud_arg_max_s8(const mcud_reduce_t *walk, const int8_t *in, int32_t *out)
{
    const int32_t count = outputs(walk);

    for (int32_t i = 0; i < count; i++) {
        out[i] = place(walk, source(walk, in, i), 1);
    }
}

void mcud_arg_min_s8(const mcud_reduce_t *walk, const int8_t *in, int32_t *out)
{
    const int32_t count = outputs(walk);

    for (int32_t i = 0; i < count; i++) {
        out[i] = place(walk, source(walk, in, i), -1);
    }
}
