/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution by planes.
 *
 * For a strip of output rows, two channels at a time are gathered from NHWC into planes of int16
 * with the padding in place; a plane is then convolved as if it were a single-channel image, with
 * all its weights in registers: the pixels (x, x + 1) and (x + 2, x + 3) of a row, fetched by one
 * LDRD, serve the outputs x and x + 1 with two instructions each,
 *     out x    : SMLAD  (x, x+1) . (w0, w1)      SMLABT (x+2) * w2
 *     out x + 1: SMLATB (x+1) * w0               SMLAD  (x+2, x+3) . (w1, w2)
 * so nine MACs take six instructions. The compiler cannot keep six weights, two sums, two words
 * and four pointers in registers: hence the assembly for 3x3. Other kernels and other cores take
 * the plain loop over pairs of taps.
 *
 * Since a strip's outputs are written channel by channel, an output may lie over rows that the
 * strip and all later ones no longer read, but not over the strip's own. A map that keeps its size
 * can be convolved in place, too: then two channels go through all strips before the next two, and
 * the planes keep the rows that the next strip shares with this one.
 */
#include "depthwise_s8.h"

#include "depthwise_3x3.h"

/*
 * The weights of a kernel row as pairs: for an even column (w0, w1), (w2, w3), ... and, with stride
 * 1, beside each the pair for the next column, (0, w0), (w1, w2), ..., which meets the same words.
 */
static void lay_out_taps(const mcud_depthwise_s8_t *p, const int8_t *w, uint32_t *taps)
{
    for (int32_t ky = 0; ky < p->k_h; ky++, w += p->k_w) {
        for (int32_t kx = 0; kx < p->k_w + (p->stride_w == 1); kx += 2) {
            const int32_t before = kx > 0 ? w[kx - 1] : 0;
            const int32_t here = kx < p->k_w ? w[kx] : 0;
            *taps++ = mcud_pair(here, kx + 1 < p->k_w ? w[kx + 1] : 0);
            if (p->stride_w == 1) {
                *taps++ = mcud_pair(before, here);
            }
        }
    }
}

/* One output row of stride 1, two outputs at a time. */
static void row_of_pairs(const mcud_depthwise_s8_t *p, const strip *s, const uint32_t *row,
                         const uint32_t *taps, int8_t *out, int32_t exact)
{
    const int32_t words = p->k_w / 2 + 1;
    const int32_t next_row = p->plane_words * p->dilation_h - words;
    for (int32_t left = p->out_w; left > 0; left -= 2, row++) {
        const uint32_t *from = row;
        const uint32_t *tap = taps;
        int32_t sum0 = s->start;
        int32_t sum1 = s->start;
        for (int32_t ky = p->k_h; ky > 0; ky--, from += next_row) {
            for (const uint32_t *const end = from + words; from < end; from++, tap += 2) {
                sum0 = mcud_dot2(*from, tap[0], sum0);
                sum1 = mcud_dot2(*from, tap[1], sum1);
            }
        }
        *out = (int8_t)requantize(s, sum0, exact);
        out += s->pixel_bytes;
        if (left > 1) {
            *out = (int8_t)requantize(s, sum1, exact);
            out += s->pixel_bytes;
        }
    }
}

/* One output row of any stride. */
static void row_of_singles(const mcud_depthwise_s8_t *p, const strip *s, const uint32_t *row,
                           const uint32_t *taps, int8_t *out, int32_t exact)
{
    const int32_t words = (p->k_w + 1) / 2;
    const int32_t next_row = 2 * (p->plane_words * p->dilation_h - words);
    for (int32_t x = 0; x < p->out_w; x++, out += s->pixel_bytes) {
        const int16_t *from = (const int16_t *)row + x * p->stride_w;
        const uint32_t *tap = taps;
        int32_t sum = s->start;
        for (int32_t ky = p->k_h; ky > 0; ky--, from += next_row) {
            for (const int16_t *const end = from + 2 * words; from < end; from += 2, tap++) {
                sum = mcud_dot2(mcud_load4(from), *tap, sum);
            }
        }
        *out = (int8_t)requantize(s, sum, exact);
    }
}

/* Any kernel, plainly. */
static void convolve_any(const mcud_depthwise_s8_t *p, const strip *s, const int8_t *w,
                         const uint32_t *plane, uint32_t *taps, int32_t exact)
{
    int8_t *out = s->out;
    lay_out_taps(p, w, taps);
    for (int32_t row = 0; row < s->rows; row++) {
        if (p->stride_w == 1) {
            row_of_pairs(p, s, plane, taps, out, exact);
        } else {
            row_of_singles(p, s, plane, taps, out, exact);
        }
        plane += p->stride_h * p->plane_words;
        out += s->out_skip + p->out_w * s->pixel_bytes;
    }
}

/* `columns` pixels of two adjacent channels into the same places of two planes. */
static inline void gather_row(const int8_t *from, int32_t step, int32_t columns, int16_t *a,
                              int16_t *b)
{
    const int16_t *const end = a + (columns & ~1);
    for (; a < end; a += 2, b += 2, from += 2 * step) {
        uint16_t left, right;
        memcpy(&left, from, 2);
        memcpy(&right, from + step, 2);
        const uint32_t both = left | (uint32_t)right << 16;
        mcud_store4(a, mcud_bytes02(both));
        mcud_store4(b, mcud_bytes13(both));
    }
    if (columns & 1) {
        *a = from[0];
        *b = from[1];
    }
}

/* All outputs of one input channel, from its plane. */
static inline void convolve_channel(const mcud_depthwise_s8_t *p, int32_t c, const uint32_t *plane,
                                    uint32_t *taps, int8_t *out, strip *s)
{
    for (int32_t i = 0; i < p->multiplier; i++) {
        const int32_t channel = c * p->multiplier + i;
        const int32_t *const constants = p->constants + 3 * channel;
        const int8_t *const w = p->weights + channel * p->k_h * p->k_w;
        const int32_t exact = constants[2] & FLAG_EXACT;
        s->start = constants[0];
        s->multiplier = constants[1];
        s->addend = constants[2];
        s->out = out + channel;
        if (exact) {
            s->exponent = constants[2] & 0xFF;
            s->addend = mcud_requantize_offset(p->out_zero_point, s->exponent);
        }
        if (is_3x3(p)) {
            convolve_3x3(p, s, w, plane, exact);
        } else {
            convolve_any(p, s, w, plane, taps, exact);
        }
    }
}

static void fill(uint32_t *words, int32_t count, uint32_t value)
{
    for (const uint32_t *const end = words + count; words < end; words++) {
        *words = value;
    }
}

/* Output rows [y, y + rows), whose addresses follow each other. */
static void convolve_strip(const mcud_depthwise_s8_t *p, const mcud_map *in, const mcud_map *out,
                           int32_t y, int32_t rows, uint32_t *scratch)
{
    const int32_t top = y * p->stride_h - p->pad_top;
    const int32_t taken = (rows - 1) * p->stride_h + (p->k_h - 1) * p->dilation_h + 1;
    const int32_t first_row = mcud_max(top, 0);
    const int32_t end_row = mcud_min(top + taken, p->in_h);
    const int32_t columns = mcud_min(p->in_w, 2 * p->plane_words - p->pad_left);
    const int32_t plane_words = taken * p->plane_words;
    uint32_t *const taps = scratch + 2 * plane_words;
    fill(scratch, 2 * plane_words, mcud_pair(p->in_zero_point, p->in_zero_point));
    strip s = {.pixel_bytes = p->in_c * p->multiplier,
               .rows = rows,
               .row_step = 4 * p->stride_h * p->plane_words};
    lay_out_strip(p, &s, out->row_bytes);
    for (int32_t c = 0; c < p->in_c; c += 2) {
        const int32_t first = mcud_min(c, p->in_c - 2); /* the last of an odd number: its pair */
        int16_t *a = (int16_t *)(scratch + (first_row - top) * p->plane_words) + p->pad_left;
        for (int32_t r = first_row; r < end_row; r++, a += 2 * p->plane_words) {
            gather_row(mcud_row(in, r) + first, p->in_c, columns, a, a + 2 * plane_words);
        }
        if (first == c) {
            convolve_channel(p, c, scratch, taps, mcud_row(out, y), &s);
        }
        convolve_channel(p, first + 1, scratch + plane_words, taps, mcud_row(out, y), &s);
    }
    if (p->clamp) {
        for (int32_t row = y; row < y + rows; row++) {
            mcud_clamp_row(mcud_row(out, row), p->out_w * s.pixel_bytes, p->activation_min,
                           p->activation_max);
        }
    }
}

void mcud_depthwise_s8(const mcud_depthwise_s8_t *p, mcud_map in, mcud_map out, int32_t row_begin,
                       int32_t row_end, int8_t *scratch)
{
    int32_t rows;
    for (int32_t y = row_begin; y < row_end; y += rows) {
        rows = mcud_min(p->strip_rows, row_end - y);
        if (out.ring < p->out_h) {
            rows = mcud_min(rows, out.ring - y % out.ring);
        }
        convolve_strip(p, &in, &out, y, rows, (uint32_t *)(void *)scratch);
    }
}

/* Rows [row, taken) of two planes whose row 0 is the map's row `top`; padding where none is. */
static void gather_rows(const mcud_depthwise_s8_t *p, const int8_t *map, int32_t first,
                        int32_t top, int32_t row, int32_t taken, uint32_t *planes)
{
    const int32_t columns = mcud_min(p->in_w, 2 * p->plane_words - p->pad_left);
    const int32_t most_rows = p->strip_rows + (p->k_h - 1) * p->dilation_h;
    uint32_t *const second = planes + most_rows * p->plane_words;
    for (; row < taken; row++) {
        const int32_t r = top + row;
        uint32_t *const a = planes + row * p->plane_words;
        uint32_t *const b = second + row * p->plane_words;
        if (r < 0 || r >= p->in_h) {
            const uint32_t zero = mcud_pair(p->in_zero_point, p->in_zero_point);
            fill(a, p->plane_words, zero);
            fill(b, p->plane_words, zero);
        } else {
            gather_row(map + r * p->in_w * p->in_c + first, p->in_c, columns,
                       (int16_t *)a + p->pad_left, (int16_t *)b + p->pad_left);
        }
    }
}

void mcud_depthwise_in_place_s8(const mcud_depthwise_s8_t *p, int8_t *map, int8_t *scratch)
{
    const int32_t row_bytes = p->in_w * p->in_c;
    const int32_t kept = (p->k_h - 1) * p->dilation_h;
    const int32_t plane_words = (p->strip_rows + kept) * p->plane_words;
    uint32_t *const planes = (uint32_t *)(void *)scratch;
    uint32_t *const taps = planes + 2 * plane_words;
    strip s = {.pixel_bytes = p->in_c, .row_step = 4 * p->plane_words};
    lay_out_strip(p, &s, row_bytes);
    fill(planes, 2 * plane_words, mcud_pair(p->in_zero_point, p->in_zero_point));
    for (int32_t c = 0; c < p->in_c; c += 2) {
        const int32_t first = mcud_min(c, p->in_c - 2); /* the last of an odd number: its pair */
        int32_t begin = 0;
        for (int32_t y = 0; y < p->out_h; y += p->strip_rows) {
            s.rows = mcud_min(p->strip_rows, p->out_h - y);
            gather_rows(p, map, first, y - p->pad_top, begin, s.rows + kept, planes);
            begin = kept;
            int8_t *const out = map + y * row_bytes;
            if (first == c) {
                convolve_channel(p, c, planes, taps, out, &s);
            }
            convolve_channel(p, first + 1, planes + plane_words, taps, out, &s);
            if (y + s.rows < p->out_h) {
                const int32_t moved = s.rows * p->plane_words;
                for (uint32_t *word = planes; word < planes + kept * p->plane_words; word++) {
                    word[0] = word[moved];
                    word[plane_words] = word[plane_words + moved];
                }
            }
        }
    }
    if (p->clamp) {
        mcud_clamp_row(map, p->out_h * row_bytes, p->activation_min, p->activation_max);
    }
}
