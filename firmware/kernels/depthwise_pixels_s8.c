/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution pixel by pixel, four channels at a time, straight from NHWC: what lies
 * under the kernel is centred and multiplied by halves, padding is left out. Nothing is gathered, so it needs
 * no scratch, its output follows its input by a pixel, and small maps and single rows cost no more
 * than their share; wide maps are faster by planes (depthwise_s8.c).
 */
#include "depthwise_pixels_s8.h"

#include "depthwise_requantize.h"

/* The part of a kernel that lies over the map. */
typedef struct {
    const int8_t *rows[MCUD_DEPTHWISE_MOST_ROWS]; /* input rows of the kernel's rows from top on */
    int32_t top, count;                           /* of the kernel's rows */
} covered;

#if MCUD_DSP

static inline int32_t low_product(uint32_t a, uint32_t b, int32_t sum)
{
    return sum + (int16_t)a * (int16_t)b;
}

static inline int32_t high_product(uint32_t a, uint32_t b, int32_t sum)
{
    return sum + (int16_t)(a >> 16) * (int16_t)(b >> 16);
}

#endif

static inline int8_t requantize(const int32_t *constants, int32_t sum, int32_t zero_point)
{
    const int32_t addend = constants[2];
    if (addend & FLAG_EXACT) {
        const int32_t e = addend & 0xFF;
        const int32_t offset = mcud_requantize_offset(zero_point, e);
        return (int8_t)mcud_requantize(sum, constants[1], offset, e);
    }
    return (int8_t)mcud_saturate8(mcud_high_mla(sum, constants[1], addend) >> SHIFT);
}

/* Four channels of a pixel: `width` taps from `from` (bytes into a row) and `weights` on. */
static inline void four_channels(const mcud_depthwise_pixels_s8_t *p, const covered *rows,
                                 int32_t from, const int8_t *weights, int32_t width,
                                 const int32_t *constants, int8_t *out)
{
    const int32_t channels = p->channels;
    const int32_t step = channels * p->dilation_w;
    const int32_t next_row = channels * (p->k_w - width);
#if MCUD_DSP
    const uint32_t centre = mcud_pair(-p->in_zero_point, -p->in_zero_point);
#else
    const int32_t zero = p->in_zero_point;
#endif
    int32_t a = constants[0];
    int32_t b = constants[3];
    int32_t c = constants[6];
    int32_t d = constants[9];
    for (int32_t ky = 0; ky < rows->count; ky++, weights += next_row) {
        const int8_t *x = rows->rows[ky] + from;
        for (int32_t kx = width; kx > 0; kx--, x += step, weights += channels) {
#if MCUD_DSP
            const uint32_t taps = mcud_load4(x);
            const uint32_t factors = mcud_load4(weights);
            const uint32_t even = mcud_add_bytes02(centre, taps);
            const uint32_t odd = mcud_add_bytes13(centre, taps);
            const uint32_t even_factors = mcud_bytes02(factors);
            const uint32_t odd_factors = mcud_bytes13(factors);
            a = low_product(even, even_factors, a);
            b = low_product(odd, odd_factors, b);
            c = high_product(even, even_factors, c);
            d = high_product(odd, odd_factors, d);
#else
            a += (x[0] - zero) * weights[0];
            b += (x[1] - zero) * weights[1];
            c += (x[2] - zero) * weights[2];
            d += (x[3] - zero) * weights[3];
#endif
        }
    }
    out[0] = requantize(constants, a, p->out_zero_point);
    out[1] = requantize(constants + 3, b, p->out_zero_point);
    out[2] = requantize(constants + 6, c, p->out_zero_point);
    out[3] = requantize(constants + 9, d, p->out_zero_point);
}

static covered rows_under(const mcud_depthwise_pixels_s8_t *p, const mcud_map *in, int32_t y)
{
    const int32_t first = y * p->stride_h - p->pad_top;
    covered rows = {.top = 0, .count = 0};
    for (int32_t ky = 0; ky < p->k_h; ky++) {
        const int32_t row = first + ky * p->dilation_h;
        if (row >= 0 && row < p->in_h) {
            if (rows.count == 0) {
                rows.top = ky;
            }
            rows.rows[rows.count++] = mcud_row(in, row);
        }
    }
    return rows;
}

void mcud_depthwise_pixels_s8(const mcud_depthwise_pixels_s8_t *p, mcud_map in, mcud_map out,
                              int32_t row_begin, int32_t row_end)
{
    const int32_t channels = p->channels;
    for (int32_t y = row_begin; y < row_end; y++) {
        const covered rows = rows_under(p, &in, y);
        int8_t *const first = mcud_row(&out, y);
        int8_t *to = first;
        for (int32_t x = 0; x < p->out_w; x++, to += channels) {
            int32_t left = x * p->stride_w - p->pad_left;
            int32_t begin = 0;
            int32_t end = p->k_w;
            for (; left < 0 && begin < end; left += p->dilation_w) {
                begin++;
            }
            while (end > begin && left + (end - begin - 1) * p->dilation_w >= p->in_w) {
                end--;
            }
            const int8_t *const weights =
                p->weights + (rows.top * p->k_w + begin) * channels;
            for (int32_t c = 0; c < channels; c += 4) {
                const int32_t four = mcud_min(c, channels - 4); /* the last overlap */
                four_channels(p, &rows, left * channels + four, weights + four, end - begin,
                              p->constants + 3 * four, to + four);
            }
        }
        if (p->clamp) {
            mcud_clamp_row(first, p->out_w * channels, p->activation_min, p->activation_max);
        }
    }
}
