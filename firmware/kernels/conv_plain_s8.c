/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution without DSP instructions: two products a multiplication.
 *
 * The patches of four output pixels are gathered once, two pixels to a word, x0 + 2^16 * x1, and
 * serve all output channels. A word times a weight is x0 * w + 2^16 * (x1 * w): as long as the lower
 * sum stays within an int16, both can be told apart. The packer counts for each channel how many
 * taps in a row cannot leave it whatever the input (about 255 * the sum of |w| < 2^16; eight at
 * most), and after so many the halves are added to the four sums of the channel. So four MACs take
 * two multiplications, two loads and a share of the addition of halves; the weights stay as they
 * are. Compilers spill the four sums or reload what they have: hence the assembly, for both sets of
 * instructions. Input zero points are folded into the starts of the sums; taps on padding hold the zero
 * point. Requantization is that of conv_s8.c, with shift 2.
 */
#include "conv_plain_s8.h"
#include "conv_gather.h"

#define TILE 4
#define SHIFT 2
#define FLAG_EXACT 0x100
#define CHUNK_SHIFT 9
#define CHUNK_BITS (7 << CHUNK_SHIFT) /* taps of a chunk - 1 */
#define MOST_TAPS 8

/* One channel at the pixels of a tile; the assembly knows the order. */
typedef struct {
    int32_t sums[TILE];   /* the first is the start of all, given */
    int32_t skip;         /* bytes of the unrolled taps that a chunk leaves out */
    const uint32_t *end;  /* of the patches' last whole chunk */
    int32_t rest_skip;    /* the same for the taps behind the whole chunks */
    const uint32_t *last; /* end of the patches */
} channel;

#if defined(__ARM_ARCH_6M__)

#define TAP_BYTES 14
#define TAP                                                                                        \
    "ldrsb r2, [r1, r7]\n"                                                                         \
    "adds r7, #1\n"                                                                                \
    "ldmia r0!, {r3, r4}\n"                                                                        \
    "muls r3, r2\n"                                                                                \
    "muls r4, r2\n"                                                                                \
    "adds r5, r3\n"                                                                                \
    "adds r6, r4\n"

/* The weights w against the patches x. */
__attribute__((naked, noinline)) static void
add_products(__attribute__((unused)) const uint32_t *x, __attribute__((unused)) const int8_t *w,
             __attribute__((unused)) channel *c)
{
    __asm__ volatile(".syntax unified\n"
                     "push {r2, r4-r7, lr}\n"
                     "mov r4, r8\n"
                     "mov r5, r9\n"
                     "mov r6, r10\n"
                     "mov r7, r11\n"
                     "push {r4-r7}\n"
                     "ldr r3, [r2]\n"
                     "mov r8, r3\n"
                     "mov r9, r3\n"
                     "mov r10, r3\n"
                     "mov r11, r3\n"
                     "movs r7, #0\n"
                     "ldr r3, [r2, #16]\n"
                     "ldr r4, [r2, #20]\n"
                     "cmp r0, r4\n"
                     "beq 4f\n"
                     "1:\n"
                     "mov lr, r4\n"
                     "adr r4, 3f\n"
                     "add r3, r4\n"
                     "mov r12, r3\n"
                     "2:\n"
                     "ldrsb r2, [r1, r7]\n"
                     "adds r7, #1\n"
                     "ldmia r0!, {r5, r6}\n"
                     "muls r5, r2\n"
                     "muls r6, r2\n"
                     "mov pc, r12\n"
                     ".balign 4\n"
                     "3:\n" TAP TAP TAP TAP TAP TAP TAP
                     "sxth r2, r5\n"
                     "sxth r3, r6\n"
                     "subs r5, r2\n"
                     "subs r6, r3\n"
                     "asrs r5, #16\n"
                     "asrs r6, #16\n"
                     "add r8, r2\n"
                     "add r9, r5\n"
                     "add r10, r3\n"
                     "add r11, r6\n"
                     "cmp r0, lr\n"
                     "bne 2b\n"
                     "4:\n"
                     "ldr r2, [sp, #16]\n"
                     "ldr r3, [r2, #24]\n"
                     "ldr r4, [r2, #28]\n"
                     "cmp r0, r4\n"
                     "bne 1b\n"
                     "mov r3, r8\n"
                     "mov r4, r9\n"
                     "mov r5, r10\n"
                     "mov r6, r11\n"
                     "stmia r2!, {r3-r6}\n"
                     "pop {r4-r7}\n"
                     "mov r8, r4\n"
                     "mov r9, r5\n"
                     "mov r10, r6\n"
                     "mov r11, r7\n"
                     "pop {r2, r4-r7, pc}\n");
}

#elif defined(__thumb2__)

#define TAP_BYTES 14
#define TAP                                                                                        \
    "ldrsb r4, [r1], #1\n"                                                                         \
    "ldmia r0!, {r3, r7}\n"                                                                        \
    "mla r5, r3, r4, r5\n"                                                                         \
    "mla r6, r7, r4, r6\n"

__attribute__((naked, noinline)) static void
add_products(__attribute__((unused)) const uint32_t *x, __attribute__((unused)) const int8_t *w,
             __attribute__((unused)) channel *c)
{
    __asm__ volatile(".syntax unified\n"
                     "push {r4-r11, lr}\n"
                     "ldr r8, [r2]\n"
                     "mov r9, r8\n"
                     "mov r10, r8\n"
                     "mov r11, r8\n"
                     "ldrd r3, r12, [r2, #16]\n"
                     "cmp r0, r12\n"
                     "beq 4f\n"
                     "1:\n"
                     "adr lr, 3f\n"
                     "add lr, lr, r3\n"
                     "2:\n"
                     "ldrsb r4, [r1], #1\n"
                     "ldmia r0!, {r3, r7}\n"
                     "mul r5, r3, r4\n"
                     "mul r6, r7, r4\n"
                     "mov pc, lr\n"
                     ".balign 4\n"
                     "3:\n" TAP TAP TAP TAP TAP TAP TAP
                     "sxth r3, r5\n"
                     "sxth r4, r6\n"
                     "subs r5, r5, r3\n"
                     "subs r6, r6, r4\n"
                     "add r8, r8, r3\n"
                     "add r9, r9, r5, asr #16\n"
                     "add r10, r10, r4\n"
                     "add r11, r11, r6, asr #16\n"
                     "cmp r0, r12\n"
                     "bne 2b\n"
                     "4:\n"
                     "ldrd r3, r12, [r2, #24]\n"
                     "cmp r0, r12\n"
                     "bne 1b\n"
                     "stmia r2, {r8-r11}\n"
                     "pop {r4-r11, pc}\n");
}

#else

#define TAP_BYTES 1

static void add_products(const uint32_t *x, const int8_t *w, channel *c)
{
    int32_t skip = c->skip;
    const uint32_t *end = c->end;
    c->sums[1] = c->sums[2] = c->sums[3] = c->sums[0];
    for (;;) {
        while (x < end) {
            uint32_t words[2] = {0, 0};
            for (int32_t tap = skip; tap < MOST_TAPS; tap++, x += 2, w++) {
                words[0] += x[0] * (uint32_t)*w;
                words[1] += x[1] * (uint32_t)*w;
            }
            for (int32_t i = 0; i < 2; i++) {
                const int32_t low = (int16_t)words[i];
                c->sums[2 * i] += low;
                c->sums[2 * i + 1] += (int32_t)(words[i] - (uint32_t)low) >> 16;
            }
        }
        if (x == c->last) {
            return;
        }
        skip = c->rest_skip;
        end = c->last;
    }
}

#endif

/* What does not change from tile to tile. */
typedef struct {
    const mcud_conv_plain_s8_t *p;
    int32_t channels; /* of a group */
    int32_t taps;
    const uint32_t *patch;
    int32_t offsets[TILE]; /* of the pixels' outputs; absent pixels repeat the last one's */
} tile;

static inline int8_t exactly(const int32_t *constants, int32_t sum, int32_t offset)
{
    return (int8_t)mcud_requantize(sum, constants[1], offset, constants[2] & 0xFF);
}

static inline int8_t fast(const int32_t *constants, int32_t sum, int32_t addend)
{
    return (int8_t)mcud_saturate8(mcud_high_mla(sum, constants[1], addend) >> SHIFT);
}

/* The outputs of the channels [number, end) at the pixels of a tile. */
static void multiply_tile(const tile *t, int8_t *out, int32_t number, int32_t end)
{
    const mcud_conv_plain_s8_t *const p = t->p;
    const int32_t *constants = p->constants + 3 * number;
    const int8_t *weights = p->weights + number * t->taps;
    const int32_t second = t->offsets[1];
    const int32_t third = t->offsets[2];
    const int32_t fourth = t->offsets[3];
    channel c = {.last = t->patch + 2 * t->taps};
    for (; number < end; number++, constants += 3, weights += t->taps, out++) {
        const int32_t flags = constants[2];
        const int32_t chunk = (flags & CHUNK_BITS) >> CHUNK_SHIFT;
        const int32_t rest = p->rests[chunk];
        c.sums[0] = constants[0];
        c.skip = TAP_BYTES * (MOST_TAPS - 1 - chunk);
        c.rest_skip = TAP_BYTES * (MOST_TAPS - rest);
        c.end = c.last - 2 * rest;
        add_products(t->patch, weights, &c);
        if (flags & FLAG_EXACT) {
            const int32_t zero_point = p->layer.out_zero_point;
            const int32_t offset = mcud_requantize_offset(zero_point, flags & 0xFF);
            out[0] = exactly(constants, c.sums[0], offset);
            out[second] = exactly(constants, c.sums[1], offset);
            out[third] = exactly(constants, c.sums[2], offset);
            out[fourth] = exactly(constants, c.sums[3], offset);
        } else {
            const int32_t addend = flags & ~CHUNK_BITS;
            out[0] = fast(constants, c.sums[0], addend);
            out[second] = fast(constants, c.sums[1], addend);
            out[third] = fast(constants, c.sums[2], addend);
            out[fourth] = fast(constants, c.sums[3], addend);
        }
    }
}

/* n bytes of the runs of four pixels, by two in words; returns where the next run goes. */
static uint32_t *interleave(const int8_t *const runs[TILE], int32_t n, uint32_t *to)
{
    const int8_t *a = runs[0];
    const int8_t *b = runs[1];
    const int8_t *c = runs[2];
    const int8_t *d = runs[3];
    for (const int8_t *const end = a + n; a < end; to += 2) {
        to[0] = (uint32_t)*a++ + ((uint32_t)*b++ << 16);
        to[1] = (uint32_t)*c++ + ((uint32_t)*d++ << 16);
    }
    return to;
}

/* Pixels from column x of a row whose kernel starts at input row top on. */
typedef struct {
    int32_t x;
    int32_t top;
} position;

/* The patches of the `filled` pixels from `at` on, the last one's again where they are fewer. */
static void gather_tile(const gatherer *g, position *at, int32_t filled, int32_t group,
                        uint32_t *patch)
{
    const mcud_conv_layer_t *const s = g->layer;
    position pixels[TILE];
    for (int32_t i = 0; i < TILE; i++) {
        pixels[i] = i < filled ? *at : pixels[i - 1];
        if (i < filled && ++at->x == s->out_w) {
            at->x = 0;
            at->top += s->stride_h;
        }
    }
    for (int32_t ky = 0; ky < s->k_h; ky++) {
        const int8_t *runs[TILE];
        for (int32_t i = 0; i < TILE; i++) {
            const int32_t y = pixels[i].top + ky * s->dilation_h;
            const int32_t left = pixels[i].x * s->stride_w - s->pad_left;
            if (pixels[i].x >= g->first_inside && pixels[i].x < g->end_inside && y >= 0
                && y < s->in_h) {
                runs[i] = mcud_row(&g->in, y) + left * s->in_c;
            } else {
                int8_t *const run = g->runs + i * g->run_bytes;
                assemble_run(g, y, left, group, run);
                runs[i] = run;
            }
        }
        patch = interleave(runs, g->run_bytes, patch);
    }
}

/* The outputs of a group at the tile that was gathered, `filled` of its pixels real. */
static void finish_tile(tile *t, int8_t *out, int32_t filled, int32_t group)
{
    const mcud_conv_layer_t *const s = &t->p->layer;
    for (int32_t i = 0; i < TILE; i++) {
        t->offsets[i] = mcud_min(i, filled - 1) * s->out_c;
    }
    out += group * t->channels;
    multiply_tile(t, out, group * t->channels, (group + 1) * t->channels);
    if (s->clamp) {
        for (; filled > 0; filled--, out += s->out_c) {
            mcud_clamp_row(out, t->channels, s->activation_min, s->activation_max);
        }
    }
}

/* A 1x1 convolution whose pixels follow each other in both maps: tiles without rows. */
static void convolve_run(tile *t, const int8_t *in, int8_t *out, int32_t pixels, uint32_t *patch)
{
    const int32_t in_c = t->p->layer.in_c;
    const int32_t out_c = t->p->layer.out_c;
    for (; pixels > 0; pixels -= TILE, in += TILE * in_c, out += TILE * out_c) {
        const int32_t last = mcud_min(pixels, TILE) - 1;
        const int8_t *const runs[TILE] = {in, in + mcud_min(1, last) * in_c,
                                          in + mcud_min(2, last) * in_c, in + last * in_c};
        interleave(runs, in_c, patch);
        finish_tile(t, out, last + 1, 0);
    }
}

/*
 * `pixels` outputs of one group from the first of row y on, which follow each other in the output;
 * a tile may span rows.
 */
static void convolve_pixels(const gatherer *g, tile *t, int32_t y, int8_t *out, int32_t pixels,
                            int32_t group, uint32_t *patch)
{
    const mcud_conv_layer_t *const s = g->layer;
    position at = {0, y * s->stride_h - s->pad_top};
    for (; pixels > 0; pixels -= TILE, out += TILE * s->out_c) {
        const int32_t filled = mcud_min(TILE, pixels);
        gather_tile(g, &at, filled, group, patch);
        finish_tile(t, out, filled, group);
    }
}

void mcud_conv_plain_s8(const mcud_conv_plain_s8_t *p, mcud_map in, mcud_map out,
                        int32_t row_begin, int32_t row_end, int8_t *scratch)
{
    const mcud_conv_layer_t *const s = &p->layer;
    uint32_t *const patch = (uint32_t *)(void *)scratch;
    const int32_t in_c = s->groups == 1 ? s->in_c : s->in_c / s->groups;
    tile t = {.p = p,
              .channels = s->groups == 1 ? s->out_c : s->out_c / s->groups,
              .taps = s->k_h * s->k_w * in_c,
              .patch = patch};
    const int32_t rows = row_end - row_begin;
    const int32_t plain = s->groups == 1 && rows_follow(&out, rows, s->out_h, s->out_w * s->out_c);
    const int32_t pixels = rows * s->out_w;
    if (plain && is_run_of_pixels(s, &in, rows)) {
        convolve_run(&t, mcud_row(&in, row_begin), mcud_row(&out, row_begin), pixels, patch);
        return;
    }
    const gatherer g = gatherer_of(s, in, scratch + 8 * t.taps);
    if (plain) {
        convolve_pixels(&g, &t, row_begin, mcud_row(&out, row_begin), pixels, 0, patch);
        return;
    }
    for (int32_t y = row_begin; y < row_end; y++) {
        for (int32_t group = 0; group < s->groups; group++) {
            convolve_pixels(&g, &t, y, mcud_row(&out, y), s->out_w, group, patch);
        }
    }
}
