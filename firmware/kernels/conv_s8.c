/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution as a matrix product over tiles of three output pixels, or of two where no more are
 * left or where the patches of three take too much memory.
 *
 * The patches of three pixels are expanded once to int16 and interleaved (pixel 0, 1, 2 of the
 * first pair of taps, then of the next), so that one LDM fetches a pair of taps of all three. They
 * serve all output channels, two at a time. The weights of the two channels share each halfword:
 * H = 256 * w_A + w_B. With x a pair of taps,
 *     sum_h += H . x                     SMLAD with the word as it is stored
 *     sum_b += w_B . x                   SMLAD with its low bytes (SXTB16)
 * and sum_h - sum_b = 256 * sum_A at the end: one extension for two words' worth of weights, and
 * 8.5 instructions for 12 MACs. Everything is modulo 2^32, so sum_h may wrap; sum_A needs 24 bits,
 * which the packer proves. Input zero points are folded into the starts of the sums; taps on
 * padding hold the zero point. Six sums, three taps, two weights, two pointers and the end of the
 * patch take all fourteen registers, which a compiler does not manage without spilling: hence the
 * assembly. Elsewhere the same product is plain C.
 *
 * Requantization. The packer looks for (start, multiplier, addend) such that
 *     saturate8((sum * multiplier + addend * 2^32) >> (32 + shift))
 * with a shift that is the same for all channels equals TFLite's double rounding for every value
 * that the sum can take; it proves that at each of the 255 thresholds (requantize.py). That is
 * SMMLA and SSAT. Pairs for which there is none, and those whose outputs do not begin at the zero
 * point (ties below zero round away), carry FLAG_EXACT in add_a and take the plain sequence. The
 * last pair of an odd number of channels carries FLAG_SINGLE as well: only A is stored.
 */
#include "conv_s8.h"
#include "conv_gather.h"
#include "conv_tile.h"

/* n bytes of padding of one pixel. */
__attribute__((noinline)) static uint32_t *expand_padding(int32_t zero_point, int32_t n,
                                                          uint32_t *to, int32_t pixels)
{
    const uint32_t pair = mcud_pair(zero_point, zero_point);
    for (; n > 0; n -= 2, to += pixels) {
        *to = pair;
    }
    return to;
}

/* One run of n bytes of three pixels. */
static inline uint32_t *expand_three(const int8_t *a, const int8_t *b, const int8_t *c, int32_t n,
                                     uint32_t *to)
{
    const int32_t fours = n & ~3;
    if (fours) {
        to = expand_fours(a, b, c, to, a + fours);
        a += fours;
        b += fours;
        c += fours;
    }
    for (int32_t rest = n & 3; rest > 0; rest -= 2, a += 2, b += 2, c += 2, to += 3) {
        if (rest == 1) {
            to[0] = (uint32_t)*a;
            to[1] = (uint32_t)*b;
            to[2] = (uint32_t)*c;
        } else {
            to[0] = mcud_pair(a[0], a[1]);
            to[1] = mcud_pair(b[0], b[1]);
            to[2] = mcud_pair(c[0], c[1]);
        }
    }
    return to;
}

/* Input row y for the pixel whose kernel begins at column `left`, to some part beside the map. */
static uint32_t *gather_border(const gatherer *g, int32_t y, int32_t left, int32_t group,
                               uint32_t *to, int32_t pixels)
{
    const mcud_conv_layer_t *const s = g->layer;
    if (!g->contiguous || s->in_c % 4 != 0) {
        assemble_run(g, y, left, group, g->runs);
        return expand_one(g->runs, g->run_bytes, to, pixels);
    }
    const int32_t before = mcud_clamp(-left, 0, s->k_w) * s->in_c;
    const int32_t behind = mcud_clamp(left + s->k_w - s->in_w, 0, s->k_w) * s->in_c;
    const int8_t *const run = mcud_row(&g->in, y) + left * s->in_c + before;
    to = expand_padding(s->in_zero_point, before, to, pixels);
    to = expand_one(run, g->run_bytes - before - behind, to, pixels);
    return expand_padding(s->in_zero_point, behind, to, pixels);
}

/* The patch of the pixel at column x whose kernel starts at input row top, one slot of a tile. */
static void gather_one(const gatherer *g, int32_t top, int32_t x, int32_t group, uint32_t *to,
                       int32_t pixels)
{
    const mcud_conv_layer_t *const s = g->layer;
    const int32_t left = x * s->stride_w - s->pad_left;
    const int32_t inside = x >= g->first_inside && x < g->end_inside;
    for (int32_t ky = 0; ky < s->k_h; ky++) {
        const int32_t y = top + ky * s->dilation_h;
        if (y < 0 || y >= s->in_h) {
            to = expand_padding(s->in_zero_point, g->run_bytes, to, pixels);
        } else if (inside) {
            to = expand_one(mcud_row(&g->in, y) + left * s->in_c, g->run_bytes, to, pixels);
        } else {
            to = gather_border(g, y, left, group, to, pixels);
        }
    }
}

/* The patches of the pixels x, x + 1, x + 2, all inside. */
static void gather_three(const gatherer *g, int32_t top, int32_t x, uint32_t *to)
{
    const mcud_conv_layer_t *const s = g->layer;
    const int32_t step = s->stride_w * s->in_c;
    const int32_t from = (x * s->stride_w - s->pad_left) * s->in_c;
    const int32_t last = top + s->k_h * s->dilation_h;
    for (int32_t y = top; y < last; y += s->dilation_h) {
        if (y >= 0 && y < s->in_h) {
            const int8_t *const run = mcud_row(&g->in, y) + from;
            to = expand_three(run, run + step, run + 2 * step, g->run_bytes, to);
        } else {
            const uint32_t zero = mcud_pair(s->in_zero_point, s->in_zero_point);
            for (int32_t i = (g->run_bytes + 1) / 2 * 3; i > 0; i--) {
                *to++ = zero;
            }
        }
    }
}

/* What does not change from tile to tile. */
typedef struct {
    const mcud_conv_layer_t *layer;
    int32_t channels; /* of a group */
    int32_t widest;   /* pixels of a tile, three or two */
    mcud_tile three;
    mcud_tile two;
} multiplier;

static inline mcud_tile tile_of(const mcud_conv_s8_t *p, uint32_t *patch, int32_t pixels,
                                int32_t round_bytes)
{
    const int32_t rounds = p->steps / 2 - 1; /* of MAC2 after the first */
    return (mcud_tile){.pixel1 = p->layer.out_c,
                       .pixel2 = 2 * p->layer.out_c,
                       .patch = patch,
                       .skip = round_bytes * (rounds == 0 ? UNROLLED : -rounds & (UNROLLED - 1)),
                       .zero_point_term = 2 * p->layer.out_zero_point + 1,
                       .patch_end = patch + pixels * p->steps};
}

static inline multiplier multiplier_of(const mcud_conv_s8_t *p, uint32_t *patch)
{
    const mcud_conv_layer_t *const s = &p->layer;
    return (multiplier){.layer = s,
                        .channels = s->groups == 1 ? s->out_c : s->out_c / s->groups,
                        .widest = p->tile,
                        .three = tile_of(p, patch, 3, MAC2_OF_THREE),
                        .two = tile_of(p, patch, 2, MAC2_OF_TWO)};
}

/* Whether the next tile is of three: four pixels that are left make two of two. */
static inline int32_t takes_three(const multiplier *m, int32_t pixels)
{
    return m->widest == 3 && (pixels > 4 || pixels == 3);
}

static inline void clamp_tile(const multiplier *m, int8_t *out, int32_t filled)
{
    const mcud_conv_layer_t *const s = m->layer;
    for (; s->clamp && filled > 0; filled--, out += s->out_c) {
        mcud_clamp_row(out, m->channels, s->activation_min, s->activation_max);
    }
}

/* A group's outputs of the three pixels that were gathered. Returns the weights of the next. */
static inline const int32_t *finish_three(multiplier *m, int8_t *out, const int32_t *packed)
{
    m->three.out = out;
    m->three.out_end = out + m->channels + (m->channels & 1);
    packed = multiply_three(&m->three, packed);
    clamp_tile(m, out, 3);
    return packed;
}

/* The same for a tile of two; `filled` of its pixels are real. */
static const int32_t *finish_two(multiplier *m, int8_t *out, int32_t filled, const int32_t *packed)
{
    m->two.out = out;
    m->two.out_end = out + m->channels + (m->channels & 1);
    m->two.pixel1 = filled > 1 ? m->layer->out_c : 0;
    packed = multiply_two(&m->two, packed);
    clamp_tile(m, out, filled);
    return packed;
}

/* A 1x1 convolution whose pixels follow each other in both maps: tiles without rows. */
static void convolve_run(multiplier *m, const int8_t *in, int8_t *out, int32_t pixels,
                         const int32_t *packed, uint32_t *patch)
{
    const int32_t in_c = m->layer->in_c;
    const int32_t out_c = m->layer->out_c;
    for (; takes_three(m, pixels); pixels -= 3, in += 3 * in_c, out += 3 * out_c) {
        expand_three(in, in + in_c, in + 2 * in_c, in_c, patch);
        finish_three(m, out, packed);
    }
    for (; pixels > 0; pixels -= 2, in += 2 * in_c, out += 2 * out_c) {
        const int32_t filled = mcud_min(2, pixels);
        expand_one(in, in_c, patch, 2);
        expand_one(in + (filled - 1) * in_c, in_c, patch + 1, 2);
        finish_two(m, out, filled, packed);
    }
}

/* An output pixel's column, and the input row that its kernel starts at. */
typedef struct {
    int32_t x;
    int32_t top;
} position;

static inline void advance(const mcud_conv_layer_t *s, position *at, int32_t pixels)
{
    at->x += pixels;
    if (at->x == s->out_w) {
        at->x = 0;
        at->top += s->stride_h;
    }
}

/* Pixels of a tile of so many, wherever they lie. */
static void gather_ones(const gatherer *g, position *at, int32_t filled, int32_t group,
                        uint32_t *patch, int32_t pixels)
{
    for (int32_t slot = 0; slot < filled; slot++) {
        gather_one(g, at->top, at->x, group, patch + slot, pixels);
        advance(g->layer, at, 1);
    }
}

/*
 * `pixels` outputs of one group from the first of row y on, which follow each other in the output;
 * a tile may span rows.
 */
static const int32_t *convolve_pixels(const gatherer *g, multiplier *m, int32_t y, int8_t *out,
                                      int32_t pixels, int32_t group, const int32_t *packed,
                                      uint32_t *patch)
{
    const mcud_conv_layer_t *const s = g->layer;
    position at = {0, y * s->stride_h - s->pad_top};
    const int32_t *after = packed;
    out += group * m->channels;
    for (; takes_three(m, pixels); pixels -= 3, out += 3 * s->out_c) {
        if (at.x >= g->first_inside && at.x + 3 <= g->end_inside) {
            gather_three(g, at.top, at.x, patch);
            advance(s, &at, 3);
        } else {
            gather_ones(g, &at, 3, group, patch, 3);
        }
        after = finish_three(m, out, packed);
    }
    for (; pixels > 0; pixels -= 2, out += 2 * s->out_c) {
        const int32_t filled = mcud_min(2, pixels);
        gather_ones(g, &at, filled, group, patch, 2);
        after = finish_two(m, out, filled, packed);
    }
    return after;
}

void mcud_conv_s8(const mcud_conv_s8_t *p, mcud_map in, mcud_map out, int32_t row_begin,
                  int32_t row_end, int8_t *scratch)
{
    const mcud_conv_layer_t *const s = &p->layer;
    uint32_t *const patch = (uint32_t *)(void *)scratch;
    multiplier m = multiplier_of(p, patch);
    const int32_t rows = row_end - row_begin;
    const int32_t plain = s->groups == 1 && rows_follow(&out, rows, s->out_h, s->out_w * s->out_c);
    const int32_t pixels = rows * s->out_w;
    if (plain && is_run_of_pixels(s, &in, rows)) {
        convolve_run(&m, mcud_row(&in, row_begin), mcud_row(&out, row_begin), pixels, p->packed,
                     patch);
        return;
    }
    const gatherer g = gatherer_of(s, in, scratch + 4 * p->tile * p->steps);
    if (plain) {
        convolve_pixels(&g, &m, row_begin, mcud_row(&out, row_begin), pixels, 0, p->packed, patch);
        return;
    }
    for (int32_t y = row_begin; y < row_end; y++) {
        const int32_t *packed = p->packed;
        for (int32_t group = 0; group < s->groups; group++) {
            packed = convolve_pixels(&g, &m, y, mcud_row(&out, y), s->out_w, group, packed, patch);
        }
    }
}
