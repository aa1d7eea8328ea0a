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

/* n / 4 groups of four bytes of three pixels as int16, interleaved; n >= 4. */
static inline uint32_t *expand_fours(const int8_t *a, const int8_t *b, const int8_t *c, int32_t n,
                                     uint32_t *to)
{
    const int8_t *const end = a + (n & ~3);
    __asm__ volatile("1:\n"
                     "ldr r3, [%[a]], #4\n"
                     "ldr r4, [%[b]], #4\n"
                     "ldr r5, [%[c]], #4\n"
                     "sxtb16 r6, r3\n"
                     "sxtb16 r8, r4\n"
                     "sxtb16 r12, r5\n"
                     "stmia %[to]!, {r6, r8, r12}\n"
                     "sxtb16 r6, r3, ror #8\n"
                     "sxtb16 r8, r4, ror #8\n"
                     "sxtb16 r12, r5, ror #8\n"
                     "stmia %[to]!, {r6, r8, r12}\n"
                     "cmp %[a], %[end]\n"
                     "bne 1b\n"
                     : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [to] "+r"(to)
                     : [end] "r"(end)
                     : "r3", "r4", "r5", "r6", "r8", "r12", "cc", "memory");
    return to;
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

static uint32_t *expand_fours(const int8_t *a, const int8_t *b, const int8_t *c, int32_t n,
                              uint32_t *to)
{
    for (int32_t i = 0; i + 4 <= n; i += 4, to += 6) {
        const uint32_t words[3] = {mcud_load4(a + i), mcud_load4(b + i), mcud_load4(c + i)};
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
    if (n >= 4) {
        to = expand_fours(a, b, c, n, to);
    }
    if (n & 3) {
        const int32_t done = n & ~3;
        expand_one(a + done, n & 3, to);
        expand_one(b + done, n & 3, to + 1);
        to = expand_one(c + done, n & 3, to + 2) - 2;
    }
    return to;
}

/* Where the taps of an output row lie, and the columns whose patches touch no padding. */
typedef struct {
    const mcud_conv_s8_t *p;
    mcud_map in;
    int32_t tap_bytes;     /* channels of a group */
    int32_t run_bytes;     /* a kernel row of them */
    int32_t first_inside;  /* columns [first_inside, end_inside) can be gathered by threes */
    int32_t end_inside;
    int8_t *run;           /* run_bytes, for patches that touch padding */
} gatherer;

/* The patch of the pixel at column x whose kernel starts at input row top, one slot of a tile. */
static void gather_one(const gatherer *g, int32_t top, int32_t x, int32_t group, uint32_t *to)
{
    const mcud_conv_s8_t *const p = g->p;
    const int32_t left = x * p->stride_w - p->pad_left;
    for (int32_t ky = 0; ky < p->k_h; ky++) {
        const int32_t y = top + ky * p->dilation_h;
        const int8_t *run = g->run;
        if (y >= 0 && y < p->in_h && x >= g->first_inside && x < g->end_inside) {
            run = mcud_row(&g->in, y) + left * p->in_c;
        } else {
            memset(g->run, p->in_zero_point, (size_t)g->run_bytes);
            for (int32_t kx = 0; kx < p->k_w && y >= 0 && y < p->in_h; kx++) {
                const int32_t column = left + kx * p->dilation_w;
                if (column >= 0 && column < p->in_w) {
                    memcpy(g->run + kx * g->tap_bytes,
                           mcud_row(&g->in, y) + column * p->in_c + group * g->tap_bytes,
                           (size_t)g->tap_bytes);
                }
            }
        }
        to = expand_one(run, g->run_bytes, to);
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
    if (p->groups == 1 && (p->dilation_w == 1 || p->k_w == 1)) {
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

/* `filled` pixels (1 to 3) of the tile are real; the others repeat the last address. */
static const int32_t *finish_tile(mcud_tile *tile, const mcud_conv_s8_t *p, int8_t *out,
                                  int32_t filled, const int32_t *packed, int32_t group)
{
    const int32_t channels = p->groups == 1 ? p->out_c : p->out_c / p->groups;
    tile->out = out + group * channels;
    tile->out_end = tile->out + channels + (channels & 1);
    tile->pixel1 = filled > 1 ? p->out_c : 0;
    tile->pixel2 = filled > 2 ? 2 * p->out_c : tile->pixel1;
    packed = multiply_tile(tile, packed);
    if (p->clamp) {
        for (int32_t pixel = 0; pixel < filled; pixel++) {
            mcud_clamp_row(out + group * channels + pixel * p->out_c, channels,
                           p->activation_min, p->activation_max);
        }
    }
    return packed;
}

/* A 1x1 convolution whose pixels follow each other in both maps: tiles without rows. */
static void convolve_run(const mcud_conv_s8_t *p, const int8_t *in, int8_t *out, int32_t pixels,
                         mcud_tile *tile, uint32_t *patch)
{
    const int32_t in_c = p->in_c;
    const int32_t out_c = p->out_c;
    for (; pixels >= 3; pixels -= 3, in += 3 * in_c, out += 3 * out_c) {
        expand_three(in, in + in_c, in + 2 * in_c, in_c, patch);
        finish_tile(tile, p, out, 3, p->packed, 0);
    }
    if (pixels > 0) {
        const int8_t *const second = in + (pixels - 1) * in_c;
        expand_three(in, second, second, in_c, patch);
        finish_tile(tile, p, out, pixels, p->packed, 0);
    }
}

/* One output row of one group, tiles within the row. */
static const int32_t *convolve_row(const gatherer *g, int32_t y, int8_t *out, int32_t group,
                                   const int32_t *packed, mcud_tile *tile, uint32_t *patch)
{
    const mcud_conv_s8_t *const p = g->p;
    const int32_t top = y * p->stride_h - p->pad_top;
    const int32_t *after = packed;
    for (int32_t x = 0; x < p->out_w; x += 3) {
        const int32_t filled = mcud_min(3, p->out_w - x);
        if (x >= g->first_inside && x + 3 <= g->end_inside) {
            gather_three(g, top, x, patch);
        } else {
            for (int32_t slot = 0; slot < filled; slot++) {
                gather_one(g, top, x + slot, group, patch + slot);
            }
        }
        after = finish_tile(tile, p, out + x * p->out_c, filled, packed, group);
    }
    return after;
}

void mcud_conv_s8(const mcud_conv_s8_t *p, mcud_map in, mcud_map out, int32_t row_begin,
                  int32_t row_end, int8_t *scratch)
{
    uint32_t *const patch = (uint32_t *)(void *)scratch;
    const int32_t rounds = p->steps / 2 - 1; /* of MAC2 after the first */
    mcud_tile tile = {.patch = patch,
                      .skip = MAC2_BYTES * (rounds == 0 ? UNROLLED : -rounds & (UNROLLED - 1)),
                      .zero_point_term = 2 * p->out_zero_point + 1,
                      .patch_end = patch + 3 * p->steps};
    if (p->k_h == 1 && p->k_w == 1 && p->stride_h == 1 && p->stride_w == 1 && p->groups == 1
        && in.ring >= p->in_h && out.ring >= p->out_h && in.row_bytes == p->in_w * p->in_c
        && out.row_bytes == p->out_w * p->out_c && p->pad_top == 0 && p->pad_left == 0
        && p->in_w == p->out_w) {
        convolve_run(p, mcud_row(&in, row_begin), mcud_row(&out, row_begin),
                     (row_end - row_begin) * p->out_w, &tile, patch);
        return;
    }
    const gatherer g = gatherer_of(p, in, scratch + 12 * p->steps);
    for (int32_t y = row_begin; y < row_end; y++) {
        const int32_t *packed = p->packed;
        for (int32_t group = 0; group < p->groups; group++) {
            packed = convolve_row(&g, y, mcud_row(&out, y), group, packed, &tile, patch);
        }
    }
}
