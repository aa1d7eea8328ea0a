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

static inline void copy_bytes(int8_t *to, const int8_t *from, int32_t n)
{
    for (; n >= 4; n -= 4, to += 4, from += 4) {
        mcud_store4(to, mcud_load4(from));
    }
    for (; n > 0; n--) {
        *to++ = *from++;
    }
}

/* Where the taps of an output row lie, and the columns whose patches touch no padding. */
typedef struct {
    const mcud_conv_s8_t *p;
    mcud_map in;
    int32_t tap_bytes;     /* channels of a group */
    int32_t run_bytes;     /* a kernel row of them */
    int32_t contiguous;    /* the taps of a run are adjacent */
    int32_t first_inside;  /* columns [first_inside, end_inside) can be gathered by threes */
    int32_t end_inside;
    int8_t *run;           /* run_bytes, for patches that touch padding */
} gatherer;

/* The run of input row y from column `left` on, the zero point where it leaves the map. */
static void assemble_run(const gatherer *g, int32_t y, int32_t left, int32_t group)
{
    const mcud_conv_s8_t *const p = g->p;
    for (int32_t i = 0; i < g->run_bytes; i++) {
        g->run[i] = (int8_t)p->in_zero_point;
    }
    if (y < 0 || y >= p->in_h) {
        return;
    }
    const int8_t *const row = mcud_row(&g->in, y);
    if (g->contiguous) {
        const int32_t first = mcud_max(left, 0);
        const int32_t end = mcud_min(left + p->k_w, p->in_w);
        copy_bytes(g->run + (first - left) * p->in_c, row + first * p->in_c,
                   (end - first) * p->in_c);
        return;
    }
    for (int32_t kx = 0; kx < p->k_w; kx++) {
        const int32_t column = left + kx * p->dilation_w;
        if (column >= 0 && column < p->in_w) {
            copy_bytes(g->run + kx * g->tap_bytes, row + column * p->in_c + group * g->tap_bytes,
                       g->tap_bytes);
        }
    }
}

/* The patch of the pixel at column x whose kernel starts at input row top, one slot of a tile. */
static void gather_one(const gatherer *g, int32_t top, int32_t x, int32_t group, uint32_t *to)
{
    const mcud_conv_s8_t *const p = g->p;
    const int32_t left = x * p->stride_w - p->pad_left;
    const int32_t inside = x >= g->first_inside && x < g->end_inside;
    for (int32_t ky = 0; ky < p->k_h; ky++) {
        const int32_t y = top + ky * p->dilation_h;
        if (inside && y >= 0 && y < p->in_h) {
            to = expand_one(mcud_row(&g->in, y) + left * p->in_c, g->run_bytes, to);
        } else {
            assemble_run(g, y, left, group);
            to = expand_one(g->run, g->run_bytes, to);
        }
    }
}

/* The patches of the pixels x, x + 1, x + 2, all inside. */
static void gather_three(const gatherer *g, int32_t top, int32_t x, uint32_t *to)
{
    const mcud_conv_s8_t *const p = g->p;
    const int32_t step = p->stride_w * p->in_c;
    const int32_t from = (x * p->stride_w - p->pad_left) * p->in_c;
    const int32_t last = top + p->k_h * p->dilation_h;
    for (int32_t y = top; y < last; y += p->dilation_h) {
        if (y >= 0 && y < p->in_h) {
            const int8_t *const run = mcud_row(&g->in, y) + from;
            to = expand_three(run, run + step, run + 2 * step, g->run_bytes, to);
        } else {
            const uint32_t zero = mcud_pair(p->in_zero_point, p->in_zero_point);
            for (int32_t i = (g->run_bytes + 1) / 2 * 3; i > 0; i--) {
                *to++ = zero;
            }
        }
    }
}

static gatherer gatherer_of(const mcud_conv_s8_t *p, mcud_map in, int8_t *run)
{
    gatherer g = {.p = p, .in = in, .run = run};
    g.tap_bytes = p->groups == 1 ? p->in_c : p->in_c / p->groups;
    g.run_bytes = p->k_w * g.tap_bytes;
    g.contiguous = p->groups == 1 && (p->dilation_w == 1 || p->k_w == 1);
    if (g.contiguous) {
        g.first_inside = p->pad_left;
        g.end_inside = p->in_w + p->pad_left - p->k_w + p->stride_w;
        if (p->stride_w > 1) {
            g.first_inside = (g.first_inside + p->stride_w - 1) / p->stride_w;
            g.end_inside = g.end_inside < 0 ? 0 : g.end_inside / p->stride_w;
        }
        g.end_inside = mcud_min(g.end_inside, p->out_w);
    }
    return g;
}

/* What does not change from tile to tile. */
typedef struct {
    const mcud_conv_s8_t *p;
    int32_t channels; /* of a group */
    mcud_tile tile;
} multiplier;

static multiplier multiplier_of(const mcud_conv_s8_t *p, uint32_t *patch)
{
    const int32_t rounds = p->steps / 2 - 1; /* of MAC2 after the first */
    return (multiplier){
        .p = p,
        .channels = p->groups == 1 ? p->out_c : p->out_c / p->groups,
        .tile = {.patch = patch,
                 .skip = MAC2_BYTES * (rounds == 0 ? UNROLLED : -rounds & (UNROLLED - 1)),
                 .zero_point_term = 2 * p->out_zero_point + 1,
                 .patch_end = patch + 3 * p->steps}};
}

/*
 * A group's outputs of the tile that was gathered; `filled` of its pixels (1 to 3) are real, the
 * others repeat the last address. Returns the weights of the next group.
 */
static inline const int32_t *finish_tile(multiplier *m, int8_t *out, int32_t filled,
                                         const int32_t *packed)
{
    const int32_t pixel_bytes = m->p->out_c;
    m->tile.out = out;
    m->tile.out_end = out + m->channels + (m->channels & 1);
    m->tile.pixel1 = filled > 1 ? pixel_bytes : 0;
    m->tile.pixel2 = filled > 2 ? 2 * pixel_bytes : m->tile.pixel1;
    packed = multiply_tile(&m->tile, packed);
    if (m->p->clamp) {
        for (; filled > 0; filled--, out += pixel_bytes) {
            mcud_clamp_row(out, m->channels, m->p->activation_min, m->p->activation_max);
        }
    }
    return packed;
}

/* A 1x1 convolution whose pixels follow each other in both maps: tiles without rows. */
static void convolve_run(multiplier *m, const int8_t *in, int8_t *out, int32_t pixels,
                         uint32_t *patch)
{
    const int32_t in_c = m->p->in_c;
    const int32_t out_c = m->p->out_c;
    for (; pixels >= 3; pixels -= 3, in += 3 * in_c, out += 3 * out_c) {
        expand_three(in, in + in_c, in + 2 * in_c, in_c, patch);
        finish_tile(m, out, 3, m->p->packed);
    }
    if (pixels > 0) {
        const int8_t *const second = in + (pixels - 1) * in_c;
        expand_three(in, second, second, in_c, patch);
        finish_tile(m, out, pixels, m->p->packed);
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
    const mcud_conv_s8_t *const p = g->p;
    int32_t top = y * p->stride_h - p->pad_top;
    const int32_t *after = packed;
    for (int32_t x = 0; pixels > 0; pixels -= 3, out += 3 * p->out_c) {
        const int32_t filled = mcud_min(3, pixels);
        if (x >= g->first_inside && x + 3 <= g->end_inside && filled == 3) {
            gather_three(g, top, x, patch);
            x += 3;
            if (x == p->out_w) {
                x = 0;
                top += p->stride_h;
            }
        } else {
            for (int32_t slot = 0; slot < filled; slot++) {
                gather_one(g, top, x, group, patch + slot);
                if (++x == p->out_w) {
                    x = 0;
                    top += p->stride_h;
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
    uint32_t *const patch = (uint32_t *)(void *)scratch;
    multiplier m = multiplier_of(p, patch);
    const int32_t plain = out.ring >= p->out_h && out.row_bytes == p->out_w * p->out_c
                          && p->groups == 1;
    const int32_t pixels = (row_end - row_begin) * p->out_w;
    if (plain && p->k_h == 1 && p->k_w == 1 && p->stride_h == 1 && p->stride_w == 1
        && in.ring >= p->in_h && in.row_bytes == p->in_w * p->in_c && p->pad_top == 0
        && p->pad_left == 0 && p->in_w == p->out_w) {
        convolve_run(&m, mcud_row(&in, row_begin), mcud_row(&out, row_begin), pixels, patch);
        return;
    }
    const gatherer g = gatherer_of(p, in, scratch + 12 * p->steps);
    if (plain) {
        convolve_pixels(&g, &m, row_begin, mcud_row(&out, row_begin), pixels, 0, p->packed, patch);
        return;
    }
    for (int32_t y = row_begin; y < row_end; y++) {
        const int32_t *packed = p->packed;
        for (int32_t group = 0; group < p->groups; group++) {
            packed = convolve_pixels(&g, &m, y, mcud_row(&out, y), p->out_w, group, packed, patch);
        }
    }
}
