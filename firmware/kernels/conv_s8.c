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

#define SHIFT_B 5
#define SHIFT_A (SHIFT_B + 8)
#define FLAG_EXACT 0x100
#define FLAG_SINGLE 0x200

/* What the product needs besides patch and weights; the assembly knows the order. */
typedef struct {
    int8_t *out;           /* pixel 0, first channel of the group */
    int32_t pixel1;        /* bytes from pixel 0 to pixel 1 */
    int32_t pixel2;        /* and to pixel 2; absent pixels repeat an earlier one's */
    int8_t *out_end;       /* where `out` stands after the last pair */
    const uint32_t *patch;
    int32_t skip;            /* bytes of the unrolled loop that the first round leaves out */
    int32_t zero_point_term; /* 2 * zero point + 1 */
    const uint32_t *patch_end;
} mcud_tile;

#define MAC2_BYTES 64
#define UNROLLED 4

#if MCUD_DSP

/* Two pairs of taps: 3 pixels, 2 channels, 24 MACs. */
#define MAC2                                                                                       \
    "ldmia r0!, {r3, r4, r5}\n"                                                                    \
    "ldrd r6, r7, [r1], #8\n"                                                                      \
    "smlad r8, r6, r3, r8\n"                                                                       \
    "smlad r9, r6, r4, r9\n"                                                                       \
    "smlad r10, r6, r5, r10\n"                                                                     \
    "sxtb16 r6, r6\n"                                                                              \
    "smlad r11, r6, r3, r11\n"                                                                     \
    "smlad r12, r6, r4, r12\n"                                                                     \
    "smlad lr, r6, r5, lr\n"                                                                       \
    "ldmia r0!, {r3, r4, r5}\n"                                                                    \
    "smlad r8, r7, r3, r8\n"                                                                       \
    "smlad r9, r7, r4, r9\n"                                                                       \
    "smlad r10, r7, r5, r10\n"                                                                     \
    "sxtb16 r7, r7\n"                                                                              \
    "smlad r11, r7, r3, r11\n"                                                                     \
    "smlad r12, r7, r4, r12\n"                                                                     \
    "smlad lr, r7, r5, lr\n"

/* All pairs of channels of a group for the three pixels of a tile. Returns the weights after. */
__attribute__((naked, noinline)) static const int32_t *
multiply_tile(__attribute__((unused)) const mcud_tile *tile,
              __attribute__((unused)) const int32_t *packed)
{
    __asm__ volatile(
        ".syntax unified\n"
        "push {r4-r11, lr}\n"
        "ldmia r0, {r3-r10}\n"
        "mov r2, r10\n"
        "adr r12, 1f\n"
        "add r8, r8, r12\n"
        "add r8, r8, #1\n" /* Thumb */
        "push {r3-r9}\n"
        ".balign 4\n"
        "6:\n"
        "ldrd r11, r8, [r1], #8\n"
        "ldr r0, [sp, #16]\n"
        /* The first MAC2 takes the starts as addends instead of six moves. */
        "ldmia r0!, {r3, r4, r5}\n"
        "ldrd r6, r7, [r1], #8\n"
        "smlad r9, r6, r4, r8\n"
        "smlad r10, r6, r5, r8\n"
        "smlad r8, r6, r3, r8\n"
        "sxtb16 r6, r6\n"
        "smlad r12, r6, r4, r11\n"
        "smlad lr, r6, r5, r11\n"
        "smlad r11, r6, r3, r11\n"
        "ldmia r0!, {r3, r4, r5}\n"
        "smlad r8, r7, r3, r8\n"
        "smlad r9, r7, r4, r9\n"
        "smlad r10, r7, r5, r10\n"
        "sxtb16 r7, r7\n"
        "smlad r11, r7, r3, r11\n"
        "smlad r12, r7, r4, r12\n"
        "smlad lr, r7, r5, lr\n"
        "ldr pc, [sp, #20]\n"
        ".balign 4\n"
        "1:\n" MAC2 MAC2 MAC2 MAC2
        "2:\n"
        ".if (2b - 1b) != 4 * 64\n" /* UNROLLED * MAC2_BYTES */
        ".error \"MAC2_BYTES is wrong\"\n"
        ".endif\n"
        "cmp r0, r2\n"
        "bne 1b\n"
        "ldmia r1!, {r4-r7}\n"
        "sub r8, r8, r11\n"
        "sub r9, r9, r12\n"
        "sub r10, r10, lr\n"
        "tst r5, #0x300\n"
        "bne 7f\n"
        "smmla r8, r8, r4, r5\n"
        "smmla r9, r9, r4, r5\n"
        "smmla r10, r10, r4, r5\n"
        "smmla r11, r11, r6, r7\n"
        "smmla r12, r12, r6, r7\n"
        "smmla lr, lr, r6, r7\n"
        "ssat r8, #8, r8, asr #13\n"
        "ssat r9, #8, r9, asr #13\n"
        "ssat r10, #8, r10, asr #13\n"
        "ssat r11, #8, r11, asr #5\n"
        "ssat r12, #8, r12, asr #5\n"
        "ssat lr, #8, lr, asr #5\n"
        "4:\n"
        "ldmia sp, {r3-r6}\n"
        "bfi r8, r11, #8, #8\n"
        "bfi r9, r12, #8, #8\n"
        "bfi r10, lr, #8, #8\n"
        "strh r10, [r3, r5]\n" /* backwards: absent pixels are overwritten */
        "strh r9, [r3, r4]\n"
        "strh r8, [r3], #2\n"
        "str r3, [sp]\n"
        "cmp r3, r6\n"
        "bne 6b\n"
        "8:\n"
        "add sp, #28\n"
        "mov r0, r1\n"
        "pop {r4-r11, pc}\n"
        /* The exact sequence. r4, r6: 2m - 2^32; low bytes of r5, r7: e. */
        "7:\n"
        "ldr r3, [sp, #24]\n"
        "asr r8, r8, #8\n"
        "asr r9, r9, #8\n"
        "asr r10, r10, #8\n"
        "smmlar r8, r8, r4, r8\n"
        "smmlar r9, r9, r4, r9\n"
        "smmlar r10, r10, r4, r10\n"
        "smmlar r11, r11, r6, r11\n"
        "smmlar r12, r12, r6, r12\n"
        "smmlar lr, lr, r6, lr\n"
        "lsl r0, r3, r5\n"
        "asrs r0, r0, #1\n"
        "lsl r3, r3, r7\n"
        "asrs r3, r3, #1\n"
        "add r8, r8, r8, asr #31\n"
        "add r9, r9, r9, asr #31\n"
        "add r10, r10, r10, asr #31\n"
        "add r11, r11, r11, asr #31\n"
        "add r12, r12, r12, asr #31\n"
        "add lr, lr, lr, asr #31\n"
        "add r8, r8, r0\n"
        "add r9, r9, r0\n"
        "add r10, r10, r0\n"
        "add r11, r11, r3\n"
        "add r12, r12, r3\n"
        "add lr, lr, r3\n"
        "asr r8, r8, r5\n"
        "asr r9, r9, r5\n"
        "asr r10, r10, r5\n"
        "asr r11, r11, r7\n"
        "asr r12, r12, r7\n"
        "asr lr, lr, r7\n"
        "ssat r8, #8, r8\n"
        "ssat r9, #8, r9\n"
        "ssat r10, #8, r10\n"
        "ssat r11, #8, r11\n"
        "ssat r12, #8, r12\n"
        "ssat lr, #8, lr\n"
        "tst r5, #0x200\n"
        "beq 4b\n"
        "ldmia sp, {r3-r5}\n"
        "strb r10, [r3, r5]\n"
        "strb r9, [r3, r4]\n"
        "strb r8, [r3]\n"
        "b 8b\n");
}

/* The bytes [a, end), four or a multiple, with those of b and c, as int16, interleaved. */
__attribute__((naked, noinline)) static uint32_t *
expand_fours(__attribute__((unused)) const int8_t *a, __attribute__((unused)) const int8_t *b,
             __attribute__((unused)) const int8_t *c, __attribute__((unused)) uint32_t *to,
             __attribute__((unused)) const int8_t *end)
{
    __asm__ volatile(".syntax unified\n"
                     "push {r4-r8, lr}\n"
                     "ldr lr, [sp, #24]\n"
                     "1:\n"
                     "ldr r4, [r0], #4\n"
                     "ldr r5, [r1], #4\n"
                     "ldr r6, [r2], #4\n"
                     "sxtb16 r7, r4\n"
                     "sxtb16 r8, r5\n"
                     "sxtb16 r12, r6\n"
                     "stmia r3!, {r7, r8, r12}\n"
                     "sxtb16 r7, r4, ror #8\n"
                     "sxtb16 r8, r5, ror #8\n"
                     "sxtb16 r12, r6, ror #8\n"
                     "stmia r3!, {r7, r8, r12}\n"
                     "cmp r0, lr\n"
                     "bne 1b\n"
                     "mov r0, r3\n"
                     "pop {r4-r8, pc}\n");
}

#else

static int32_t requantize_fast(int32_t sum, int32_t multiplier, int32_t addend, int32_t shift)
{
    return mcud_saturate8(mcud_high_mla(sum, multiplier, addend) >> shift);
}

static int32_t requantize_exact(int32_t sum, int32_t doubled, int32_t flags, int32_t term)
{
    const int32_t e = flags & 0xFF;
    return mcud_requantize(sum, doubled, term * (1 << e) / 2 - (e == 0 && term < 0), e);
}

static const int32_t *multiply_tile(const mcud_tile *tile, const int32_t *packed)
{
    const int32_t at[3] = {0, tile->pixel1, tile->pixel2};
    for (int8_t *out = tile->out; out < tile->out_end; out += 2) {
        const uint32_t init_b = (uint32_t)packed[0];
        const uint32_t init_h = (uint32_t)packed[1];
        const int32_t *const weights = packed + 2;
        packed = weights + (tile->patch_end - tile->patch) / 3;
        for (int32_t pixel = 2; pixel >= 0; pixel--) {
            const uint32_t *x = tile->patch + pixel;
            uint32_t sum_b = init_b;
            uint32_t sum_h = init_h;
            for (const int32_t *w = weights; w < packed; w++, x += 3) {
                sum_h = (uint32_t)mcud_dot2((uint32_t)*w, *x, (int32_t)sum_h);
                sum_b = (uint32_t)mcud_dot2(mcud_bytes02((uint32_t)*w), *x, (int32_t)sum_b);
            }
            const int32_t a = (int32_t)(sum_h - sum_b);
            const int32_t b = (int32_t)sum_b;
            const int32_t flags = packed[1];
            int8_t *const to = out + at[pixel];
            if (flags & (FLAG_EXACT | FLAG_SINGLE)) {
                to[0] = (int8_t)requantize_exact(a >> 8, packed[0], flags, tile->zero_point_term);
            } else {
                to[0] = (int8_t)requantize_fast(a, packed[0], flags, SHIFT_A);
            }
            if (flags & FLAG_SINGLE) {
                continue;
            }
            if (flags & FLAG_EXACT) {
                to[1] = (int8_t)requantize_exact(b, packed[2], packed[3], tile->zero_point_term);
            } else {
                to[1] = (int8_t)requantize_fast(b, packed[2], packed[3], SHIFT_B);
            }
        }
        packed += 4;
    }
    return packed;
}

static uint32_t *expand_fours(const int8_t *a, const int8_t *b, const int8_t *c, uint32_t *to,
                              const int8_t *end)
{
    for (; a < end; a += 4, b += 4, c += 4, to += 6) {
        const uint32_t words[3] = {mcud_load4(a), mcud_load4(b), mcud_load4(c)};
        for (int32_t pixel = 0; pixel < 3; pixel++) {
            to[pixel] = mcud_bytes02(words[pixel]);
            to[3 + pixel] = mcud_bytes13(words[pixel]);
        }
    }
    return to;
}

#endif

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
