/* SPDX-License-Identifier: Apache-2.0 */
#include "conv_any_s8.h"

#include <stddef.h>

#include "fixed_point.h"

static int32_t dot(const int8_t *in, const int8_t *weights, int32_t count, int32_t zero_point)
{
    int32_t sum = 0;

    for (int32_t i = 0; i < count; i++) {
        sum += (in[i] - zero_point) * weights[i];
    }
    return sum;
}

static int8_t requantized(const mcud_conv_any_s8_t *p, int32_t sum, int32_t channel)
{
    const int32_t scaled = mcud_multiply(sum, p->multipliers[channel], p->shifts[channel]);

    return mcud_clamp_s8(mcud_wrapping_add(scaled, p->out_zero_point), p->activation_min,
                         p->activation_max);
}

/* One output channel at one pixel whose window begins at (top, left) of the input. */
static int8_t window(const mcud_conv_any_s8_t *p, const mcud_map *in, int32_t top, int32_t left,
                     int32_t channel)
{
    const int32_t depth = p->in_c / p->groups;
    const int32_t first = channel / (p->out_c / p->groups) * depth;
    const int8_t *weights = p->weights + channel * p->k_h * p->k_w * depth;
    int32_t sum = p->biases != NULL ? p->biases[channel] : 0;

    for (int32_t ky = 0; ky < p->k_h; ky++) {
        const int32_t y = top + ky * p->dilation_h;
        if (y < 0 || y >= p->in_h) {
            continue;
        }
        const int8_t *row = mcud_row(in, y) + first;
        for (int32_t kx = 0; kx < p->k_w; kx++) {
            const int32_t x = left + kx * p->dilation_w;
            if (x >= 0 && x < p->in_w) {
                sum += dot(row + x * p->in_c, weights + (ky * p->k_w + kx) * depth, depth,
                           p->in_zero_point);
            }
        }
    }
    return requantized(p, sum, channel);
}

void mcud_conv_any_s8(const mcud_conv_any_s8_t *p, mcud_map in, mcud_map out, int32_t row_begin,
                      int32_t row_end)
{
    for (int32_t y = row_begin; y < row_end; y++) {
        int8_t *to = mcud_row(&out, y);
        for (int32_t x = 0; x < p->out_w; x++) {
            for (int32_t channel = 0; channel < p->out_c; channel++) {
                *to++ = window(p, &in, y * p->stride_h - p->pad_top, x * p->stride_w - p->pad_left,
                               channel);
            }
        }
    }
}

/* One output channel at output pixel (y, x), both counted from the padding's edge. */
static int8_t scattered(const mcud_conv_any_s8_t *p, const mcud_map *in, int32_t y, int32_t x,
                        int32_t channel)
{
    const int8_t *weights = p->weights + channel * p->k_h * p->k_w * p->in_c;
    int32_t sum = p->biases != NULL ? p->biases[channel] : 0;

    for (int32_t ky = y % p->stride_h; ky < p->k_h && ky <= y; ky += p->stride_h) {
        const int32_t in_y = (y - ky) / p->stride_h;
        if (in_y >= p->in_h) {
            continue;
        }
        const int8_t *row = mcud_row(in, in_y);
        for (int32_t kx = x % p->stride_w; kx < p->k_w && kx <= x; kx += p->stride_w) {
            const int32_t in_x = (x - kx) / p->stride_w;
            if (in_x < p->in_w) {
                sum += dot(row + in_x * p->in_c, weights + (ky * p->k_w + kx) * p->in_c, p->in_c,
                           p->in_zero_point);
            }
        }
    }
    return requantized(p, sum, channel);
}

void mcud_transpose_conv_s8(const mcud_conv_any_s8_t *p, mcud_map in, mcud_map out,
                            int32_t row_begin, int32_t row_end)
{
    for (int32_t y = row_begin; y < row_end; y++) {
        int8_t *to = mcud_row(&out, y);
        for (int32_t x = 0; x < p->out_w; x++) {
            for (int32_t channel = 0; channel < p->out_c; channel++) {
                *to++ = scattered(p, &in, y + p->pad_top, x + p->pad_left, channel);
            }
        }
    }
}
