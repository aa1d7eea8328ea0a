/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution as a matrix product over tiles of three output pixels.
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

/* One run of n bytes of one pixel; `to` steps by three words. Returns where the next run goes. */
static uint32_t *expand_one(const int8_t *run, int32_t n, uint32_t *to)
{
    const int8_t *const fours = run + (n & ~3);
    for (; run < fours; run += 4, to += 6) {
        const uint32_t word = mcud_load4(run);
        to[0] = mcud_bytes02(word);
        to[3] = mcud_bytes13(word);
    }
    for (int32_t rest = n & 3; rest > 0; rest -= 2, run += 2, to += 3) {
        *to = mcud_pair(run[0], rest > 1 ? run[1] : 0);
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

/* The patch of the pixel at column x whose kernel starts at input row top, one slot of a tile. */
static void gather_one(const gatherer *g, int32_t top, int32_t x, int32_t group, uint32_t *to)
{
    const mcud_conv_layer_t *const s = g->layer;
    const int32_t left = x * s->stride_w - s->pad_left;
    const int32_t inside = x >= g->first_inside && x < g->end_inside;
    for (int32_t ky = 0; ky < s->k_h; ky++) {
        const int32_t y = top + ky * s->dilation_h;
        if (inside && y >= 0 && y < s->in_h) {
            to = expand_one(mcud_row(&g->in, y) + left * s->in_c, g->run_bytes, to);
        } else {
            assemble_run(g, y, left, group, g->runs);
            to = expand_one(g->runs, g->run_bytes, to);
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
    mcud_tile tile;
} multiplier;

static multiplier multiplier_of(const mcud_conv_s8_t *p, uint32_t *patch)
{
    const mcud_conv_layer_t *const s = &p->layer;
    const int32_t rounds = p->steps / 2 - 1; /* of MAC2 after the first */
    return (multiplier){
        .layer = s,
        .channels = s->groups == 1 ? s->out_c : s->out_c / s->groups,
        .tile = {.patch = patch,
                 .skip = MAC2_BYTES * (rounds == 0 ? UNROLLED : -rounds & (UNROLLED - 1)),
                 .zero_point_term = 2 * s->out_zero_point + 1,
                 .patch_end = patch + 3 * p->steps}};
}

/*
 * A group's outputs of the tile that was gathered; `filled` of its pixels (1 to 3) are real, the
 * others repeat the last address. Returns the weights of the next group.
 */
static inline const int32_t *finish_tile(multiplier *m, int8_t *out, int32_t filled,
                                         const int32_t *packed)
{
    const int32_t pixel_bytes = m->layer->out_c;
    m->tile.out = out;
    m->tile.out_end = out + m->channels + (m->channels & 1);
    m->tile.pixel1 = filled > 1 ? pixel_bytes : 0;
    m->tile.pixel2 = filled > 2 ? 2 * pixel_bytes : m->tile.pixel1;
    packed = multiply_tile(&m->tile, packed);
    if (m->layer->clamp) {
        for (; filled > 0; filled--, out += pixel_bytes) {
            mcud_clamp_row(out, m->channels, m->layer->activation_min, m->layer->activation_max);
        }
    }
    return packed;
}

/* A 1x1 convolution whose pixels follow each other in both maps: tiles without rows. */
static void convolve_run(multiplier *m, const int8_t *in, int8_t *out, int32_t pixels,
                         const int32_t *packed, uint32_t *patch)
{
    const int32_t in_c = m->layer->in_c;
    const int32_t out_c = m->layer->out_c;
    for (; pixels >= 3; pixels -= 3, in += 3 * in_c, out += 3 * out_c) {
        expand_three(in, in + in_c, in + 2 * in_c, in_c, patch);
        finish_tile(m, out, 3, packed);
    }
    if (pixels > 0) {
        const int8_t *const second = in + (pixels - 1) * in_c;
        expand_three(in, second, second, in_c, patch);
        finish_tile(m, out, pixels, packed);
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
    int32_t top = y * s->stride_h - s->pad_top;
    const int32_t *after = packed;
    for (int32_t x = 0; pixels > 0; pixels -= 3, out += 3 * s->out_c) {
        const int32_t filled = mcud_min(3, pixels);
        if (x >= g->first_inside && x + 3 <= g->end_inside && filled == 3) {
            gather_three(g, top, x, patch);
            x += 3;
            if (x == s->out_w) {
                x = 0;
                top += s->stride_h;
            }
        } else {
            for (int32_t slot = 0; slot < filled; slot++) {
                gather_one(g, top, x, group, patch + slot);
                if (++x == s->out_w) {
                    x = 0;
                    top += s->stride_h;
                }
            }
        }
        after = finish_tile(m, out + group * m->channels, filled, packed);
    }
    return after;
}

void mcud_conv_s8(const mcud_conv_s8_t *p, mcud_map in, mcud_map out, int32_t row_begin,
                  int32_t row_end, int8_t *scratch)
{
    const mcud_conv_layer_t *const s = &p->layer;
    uint32_t *const patch = (uint32_t *)(void *)scratch;
    multiplier m = multiplier_of(p, patch);
    const int32_t plain = out.ring >= s->out_h && out.row_bytes == s->out_w * s->out_c
                          && s->groups == 1;
    const int32_t pixels = (row_end - row_begin) * s->out_w;
    if (plain && is_run_of_pixels(s, &in)) {
        convolve_run(&m, mcud_row(&in, row_begin), mcud_row(&out, row_begin), pixels, p->packed,
                     patch);
        return;
    }
    const gatherer g = gatherer_of(s, in, scratch + 12 * p->steps);
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
