/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution by planes, without DSP instructions.
 *
 * As in depthwise_s8.c the input rows of a strip are gathered from NHWC, one channel at a time,
 * with the padding in place, here as bytes. Four adjacent outputs are computed together, so that a
 * weight is loaded once for four products and a pixel once for the outputs that share it.
 */
#include "depthwise_plain_s8.h"

#include "depthwise_requantize.h"

#define BLOCK 4

/* One channel of a strip. */
typedef struct {
    const int32_t *constants;
    const int8_t *weights;
    const int8_t *plane;
    int32_t pitch; /* bytes from a plane's row to the next */
    int32_t pixel_bytes;
} channel;

/* Three taps of a kernel row against output i of a block; `s` columns lie between outputs. */
#define ROW_OF_3(i, s) (x[(i) * (s)] * w0 + x[(i) * (s) + 1] * w1 + x[(i) * (s) + 2] * w2)

/* Sums of a block of outputs, the first at `x`, of a 3x3 kernel with stride s. */
#define BLOCK_3X3(name, s, last_two)                                                               \
    static inline void name(const mcud_depthwise_s8_t *p, const channel *c, const int8_t *x,       \
                            int32_t sums[BLOCK])                                                   \
    {                                                                                              \
        const int32_t step = c->pitch * p->dilation_h;                                             \
        const int8_t *w = c->weights;                                                              \
        const int8_t *const end = w + 9;                                                           \
        int32_t first = c->constants[0];                                                           \
        int32_t second = first;                                                                    \
        int32_t third = first;                                                                     \
        int32_t fourth = first;                                                                    \
        for (; w < end; w += 3, x += step) {                                                       \
            const int32_t w0 = w[0];                                                               \
            const int32_t w1 = w[1];                                                               \
            const int32_t w2 = w[2];                                                               \
            first += ROW_OF_3(0, s);                                                               \
            second += ROW_OF_3(1, s);                                                              \
            if (last_two) {                                                                        \
                third += ROW_OF_3(2, s);                                                           \
                fourth += ROW_OF_3(3, s);                                                          \
            }                                                                                      \
        }                                                                                          \
        sums[0] = first;                                                                           \
        sums[1] = second;                                                                          \
        sums[2] = third;                                                                           \
        sums[3] = fourth;                                                                          \
    }

BLOCK_3X3(four_of_stride1, 1, 1)
BLOCK_3X3(two_of_stride1, 1, 0)
BLOCK_3X3(four_of_stride2, 2, 1)
BLOCK_3X3(two_of_stride2, 2, 0)

/* Any kernel and stride; `outputs` is 2 or 4. */
static void any_block(const mcud_depthwise_s8_t *p, const channel *c, const int8_t *x,
                      int32_t outputs, int32_t sums[BLOCK])
{
    const int32_t stride = p->stride_w;
    const int8_t *w = c->weights;
    int32_t first = c->constants[0];
    int32_t second = first;
    int32_t third = first;
    int32_t fourth = first;
    for (int32_t ky = p->k_h; ky > 0; ky--, x += c->pitch * p->dilation_h) {
        const int8_t *from = x;
        const int8_t *const end = x + p->k_w;
        if (outputs == 2) {
            for (; from < end; from++, w++) {
                first += from[0] * *w;
                second += from[stride] * *w;
            }
            continue;
        }
        for (; from < end; from++, w++) {
            first += from[0] * *w;
            second += from[stride] * *w;
            third += from[2 * stride] * *w;
            fourth += from[3 * stride] * *w;
        }
    }
    sums[0] = first;
    sums[1] = second;
    sums[2] = third;
    sums[3] = fourth;
}

/* The first `count` sums to outputs that lie side by side. */
static inline void requantize_block(const mcud_depthwise_s8_t *p, const channel *c,
                                    const int32_t *sums, int32_t count, int8_t *out)
{
    const int32_t multiplier = c->constants[1];
    const int32_t addend = c->constants[2];
    const int32_t *const end = sums + count;
    if (addend & FLAG_EXACT) {
        const int32_t e = addend & 0xFF;
        const int32_t offset = mcud_requantize_offset(p->out_zero_point, e);
        for (; sums < end; sums++, out += c->pixel_bytes) {
            *out = (int8_t)mcud_requantize(*sums, multiplier, offset, e);
        }
        return;
    }
    for (; sums < end; sums++, out += c->pixel_bytes) {
        *out = (int8_t)mcud_saturate8(mcud_high_mla(*sums, multiplier, addend) >> SHIFT);
    }
}

/* One output row from the plane's row `x` on. */
#define ROW(name, four, two)                                                                       \
    __attribute__((noinline)) static void name(const mcud_depthwise_s8_t *p, const channel *c,     \
                                               const int8_t *x, int8_t *out)                       \
    {                                                                                              \
        int32_t sums[BLOCK];                                                                       \
        int32_t left = p->out_w;                                                                   \
        for (; left > 2; left -= BLOCK) {                                                          \
            four;                                                                                  \
            requantize_block(p, c, sums, mcud_min(left, BLOCK), out);                              \
            x += BLOCK * p->stride_w;                                                              \
            out += BLOCK * c->pixel_bytes;                                                         \
        }                                                                                          \
        if (left > 0) {                                                                            \
            two;                                                                                   \
            requantize_block(p, c, sums, left, out);                                               \
        }                                                                                          \
    }

ROW(row_of_stride1, four_of_stride1(p, c, x, sums), two_of_stride1(p, c, x, sums))
ROW(row_of_stride2, four_of_stride2(p, c, x, sums), two_of_stride2(p, c, x, sums))
ROW(any_row, any_block(p, c, x, 4, sums), any_block(p, c, x, 2, sums))

/* `columns` pixels of a channel. */
static inline void gather_row(const int8_t *from, int32_t step, int32_t columns, int8_t *to)
{
    int8_t *const end = to + columns;
    for (; end - to >= 4; to += 4) {
        to[0] = *from;
        from += step;
        to[1] = *from;
        from += step;
        to[2] = *from;
        from += step;
        to[3] = *from;
        from += step;
    }
    for (; to < end; from += step) {
        *to++ = *from;
    }
}

/* All output rows of one output channel from its plane. */
static inline void convolve_channel(const mcud_depthwise_s8_t *p, const channel *c, int32_t rows,
                                    int8_t *out, int32_t out_row_bytes)
{
    const int32_t is_3x3 = p->k_h == 3 && p->k_w == 3;
    const int8_t *x = c->plane;
    for (; rows > 0; rows--, out += out_row_bytes, x += p->stride_h * c->pitch) {
        if (is_3x3 && p->stride_w == 1) {
            row_of_stride1(p, c, x, out);
        } else if (is_3x3 && p->stride_w == 2) {
            row_of_stride2(p, c, x, out);
        } else {
            any_row(p, c, x, out);
        }
    }
}

/* Output rows [y, y + rows), whose addresses follow each other. */
static void convolve_strip(const mcud_depthwise_s8_t *p, const mcud_map *in, const mcud_map *out,
                           int32_t y, int32_t rows, int8_t *scratch)
{
    const int32_t pitch = 4 * p->plane_words;
    const int32_t top = y * p->stride_h - p->pad_top;
    const int32_t taken = (rows - 1) * p->stride_h + (p->k_h - 1) * p->dilation_h + 1;
    const int32_t first_row = mcud_max(top, 0);
    const int32_t end_row = mcud_min(top + taken, p->in_h);
    const int32_t columns = mcud_min(p->in_w, pitch - p->pad_left);
    const int32_t pixel_bytes = p->in_c * p->multiplier;
    int8_t *const inside = scratch + (first_row - top) * pitch + p->pad_left;
    memset(scratch, p->in_zero_point, (size_t)(taken * pitch));
    channel c = {.constants = p->constants,
                 .weights = p->weights,
                 .plane = scratch,
                 .pitch = pitch,
                 .pixel_bytes = pixel_bytes};
    int8_t *to = mcud_row(out, y);
    for (int32_t number = 0; number < p->in_c; number++) {
        int8_t *row = inside;
        for (int32_t r = first_row; r < end_row; r++, row += pitch) {
            gather_row(mcud_row(in, r) + number, p->in_c, columns, row);
        }
        for (int32_t i = 0; i < p->multiplier; i++, to++) {
            convolve_channel(p, &c, rows, to, out->row_bytes);
            c.constants += 3;
            c.weights += p->k_h * p->k_w;
        }
    }
    if (p->clamp) {
        for (int32_t row = y; row < y + rows; row++) {
            mcud_clamp_row(mcud_row(out, row), p->out_w * pixel_bytes, p->activation_min,
                           p->activation_max);
        }
    }
}

void mcud_depthwise_plain_s8(const mcud_depthwise_s8_t *p, mcud_map in, mcud_map out,
                             int32_t row_begin, int32_t row_end, int8_t *scratch)
{
    int32_t rows;
    for (int32_t y = row_begin; y < row_end; y += rows) {
        rows = mcud_min(p->strip_rows, row_end - y);
        if (out.ring < p->out_h) {
            rows = mcud_min(rows, out.ring - y % out.ring);
        }
        convolve_strip(p, &in, &out, y, rows, scratch);
    }
}
