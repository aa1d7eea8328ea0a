/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution 3x3 of single rows, by columns.
 *
 * What four channels of a row need of three input rows is expanded to int16 once, in blocks of two
 * columns x and x + 1. Each of the four channels has three words of a block:
 *     (row 0, row 1) at x     (row 0, row 1) at x + 1     row 2 at (x, x + 1)
 * A word of four channels loaded from each row is halved and paired before its bytes are extended,
 * so twelve words take eighteen instructions. Then a channel keeps its weights in registers,
 *     (w00, w10)  (w01, w11)  (w02, w12)  (w20, w21)  (w21, w22)
 * and nine MACs take five instructions: two outputs ten, where planes (depthwise_s8.c) take
 * twelve and gather a pixel of a row for two channels only.
 *
 * Columns beside the map are the zero point; rows above and below it take weights of zero, which
 * the start of the sum makes up for. A row may be computed some columns at a time, to save scratch.
 */
#include "depthwise_rows_s8.h"

#include "depthwise_four.h"

/* The blocks that a part of a row reads, in order: those beside the map are always the same. */
typedef struct {
    int32_t before; /* beside the map on its left */
    int32_t left;   /* 1: a block half of which is */
    int32_t inside;
    int32_t right;  /* 1: a block half of which is beside the map on its right */
    int32_t behind;
    int32_t column; /* the map's column at which the left half or what is inside begins */
} extent;

/* The lower halves of two words, and the upper ones. */
static inline uint32_t low_halves(uint32_t a, uint32_t b)
{
#if MCUD_DSP
    uint32_t pair;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(a), "r"(b));
    return pair;
#else
    return (a & 0xFFFFu) | b << 16;
#endif
}

static inline uint32_t high_halves(uint32_t a, uint32_t b)
{
#if MCUD_DSP
    uint32_t pair;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(pair) : "r"(b), "r"(a));
    return pair;
#else
    return a >> 16 | (b & 0xFFFF0000u);
#endif
}

/* A block of what four channels have in columns `a` and `b` of three rows. */
static inline void make_block(uint32_t a0, uint32_t a1, uint32_t a2, uint32_t b0, uint32_t b1,
                              uint32_t b2, uint32_t *to)
{
    const uint32_t low_a = low_halves(a0, a1);
    const uint32_t low_b = low_halves(b0, b1);
    const uint32_t low_2 = low_halves(a2, b2);
    const uint32_t high_a = high_halves(a0, a1);
    const uint32_t high_b = high_halves(b0, b1);
    const uint32_t high_2 = high_halves(a2, b2);
    to[0] = mcud_bytes02(low_a);
    to[1] = mcud_bytes02(low_b);
    to[2] = mcud_bytes02(low_2);
    to[3] = mcud_bytes13(low_a);
    to[4] = mcud_bytes13(low_b);
    to[5] = mcud_bytes13(low_2);
    to[6] = mcud_bytes02(high_a);
    to[7] = mcud_bytes02(high_b);
    to[8] = mcud_bytes02(high_2);
    to[9] = mcud_bytes13(high_a);
    to[10] = mcud_bytes13(high_b);
    to[11] = mcud_bytes13(high_2);
}

/* The blocks of four channels, from rows[] + at on, but those beside the map. */
static inline void expand(const int8_t *const *rows, int32_t at, int32_t step, const extent *e,
                          uint32_t zero, uint32_t *to)
{
    const int8_t *top = rows[0] + at;
    const int8_t *middle = rows[1] + at;
    const int8_t *bottom = rows[2] + at;
    if (e->left) {
        make_block(zero, zero, zero, mcud_load4(top), mcud_load4(middle), mcud_load4(bottom), to);
        top += step;
        middle += step;
        bottom += step;
        to += BLOCK;
    }
    for (const uint32_t *const end = to + BLOCK * e->inside; to < end; to += BLOCK) {
        make_block(mcud_load4(top), mcud_load4(middle), mcud_load4(bottom), mcud_load4(top + step),
                   mcud_load4(middle + step), mcud_load4(bottom + step), to);
        top += 2 * step;
        middle += 2 * step;
        bottom += 2 * step;
    }
    if (e->right) {
        make_block(mcud_load4(top), mcud_load4(middle), mcud_load4(bottom), zero, zero, zero, to);
    }
}

/* What outputs [x, x + outputs) read. */
static extent columns_of(const mcud_depthwise_rows_s8_t *p, int32_t x, int32_t outputs)
{
    const int32_t first = x * p->stride_w - p->pad_left;
    const int32_t blocks = (outputs + 1) / 2 * p->stride_w + 1;
    extent e = {.column = mcud_max(first, 0)};
    e.before = mcud_min(blocks, mcud_max(-first, 0) / 2);
    e.left = e.before < blocks && first + 2 * e.before < 0;
    int32_t room = mcud_max(p->in_w - (first + 2 * (e.before + e.left)), 0);
    e.inside = mcud_min(blocks - e.before - e.left, room / 2);
    room -= 2 * e.inside;
    e.right = room > 0 && e.before + e.left + e.inside < blocks;
    e.behind = blocks - e.before - e.left - e.inside - e.right;
    return e;
}

static void fill(uint32_t *words, int32_t blocks, uint32_t value)
{
    for (const uint32_t *const end = words + BLOCK * blocks; words < end; words++) {
        *words = value;
    }
}

/* Four channels' weights with those of missing rows, a bit for each, 0, and their constants. */
static __attribute__((noinline)) void leave_out(four_channels *f, int32_t missing,
                                                int32_t zero_point, int8_t *weights,
                                                int32_t *constants)
{
    memcpy(constants, f->constants, 12 * sizeof *constants);
    memcpy(weights, f->weights, 36);
    for (int32_t row = 0; row < 3; row++) {
        const uint8_t *const places = PLACES[row];
        if (!(missing >> row & 1)) {
            continue;
        }
        for (int32_t i = 0; i < 4; i++) {
            int8_t *const w = weights + 9 * i;
            constants[3 * i] += (w[places[0]] + w[places[1]] + w[places[2]]) * zero_point;
            w[places[0]] = w[places[1]] = w[places[2]] = 0;
        }
    }
    f->weights = weights;
    f->constants = constants;
}

/* The addresses of the three rows that output row `y` reads; returns those missing, a bit each. */
static int32_t find_rows(const mcud_depthwise_rows_s8_t *p, const mcud_map *in, int32_t y,
                         const int8_t **rows)
{
    int32_t missing = 0;
    const int8_t *any = NULL;
    for (int32_t ky = 0; ky < 3; ky++) {
        const int32_t row = y * p->stride_h - p->pad_top + ky * p->dilation_h;
        rows[ky] = NULL;
        if (row < 0 || row >= p->in_h) {
            missing |= 1 << ky;
        } else {
            any = rows[ky] = mcud_row(in, row);
        }
    }
    for (int32_t ky = 0; ky < 3; ky++) {
        rows[ky] = rows[ky] == NULL ? any : rows[ky];
    }
    return missing;
}

/* Outputs [x, x + outputs) of a row. */
static void convolve_part(const mcud_depthwise_rows_s8_t *p, const int8_t *const *rows,
                          int32_t missing, int32_t x, int32_t outputs, int8_t *out,
                          uint32_t *blocks)
{
    const int32_t channels = p->channels;
    const extent e = columns_of(p, x, outputs);
    const uint32_t zero = (uint32_t)(uint8_t)p->in_zero_point * 0x01010101u;
    uint32_t *const first = blocks + BLOCK * e.before;
    const uint32_t padding = mcud_pair(p->in_zero_point, p->in_zero_point);
    four_channels f = {.offset = 2 * p->out_zero_point + 1,
                       .walked = outputs / 2 * p->stride_w * 4 * BLOCK,
                       .pixel_bytes = channels,
                       .odd = outputs & 1,
                       .left = 4};
    fill(blocks, e.before, padding);
    fill(first + BLOCK * (e.left + e.inside + e.right), e.behind, padding);
    for (int32_t c = 0; c < channels; c += 4) {
        const int32_t four = mcud_min(c, channels - 4); /* the last overlap */
        int8_t weights[36];
        int32_t constants[12];
        expand(rows, e.column * channels + four, channels, &e, zero, first);
        f.blocks = blocks;
        f.out = out + four;
        f.weights = p->weights + 9 * four;
        f.constants = p->constants + 3 * four;
        if (missing) {
            leave_out(&f, missing, p->in_zero_point, weights, constants);
        }
        convolve_four(p->stride_w, &f);
    }
}

void mcud_depthwise_rows_s8(const mcud_depthwise_rows_s8_t *p, mcud_map in, mcud_map out,
                            int32_t row_begin, int32_t row_end, int8_t *scratch)
{
    for (int32_t y = row_begin; y < row_end; y++) {
        const int8_t *rows[3];
        int8_t *const to = mcud_row(&out, y);
        const int32_t missing = find_rows(p, &in, y, rows);
        for (int32_t x = 0; x < p->out_w; x += p->columns) {
            convolve_part(p, rows, missing, x, mcud_min(p->columns, p->out_w - x),
                          to + x * p->channels, (uint32_t *)(void *)scratch);
        }
        if (p->clamp) {
            mcud_clamp_row(to, p->out_w * p->channels, p->activation_min, p->activation_max);
        }
    }
}
