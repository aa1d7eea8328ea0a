/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dense layers, four output channels at a time.
 *
 * Each weight is used once, so what counts is the work per weight: four inputs are loaded and
 * extended for four channels together, and the two channels that share halfwords (conv_s8.c) need
 * one extension and four SMLAD for eight MACs: one instruction a MAC with the loads.
 */
#include "fully_connected_s8.h"

/* Inputs after which the halves of a sum are taken apart: 512 * 128 * 127 < 2^23. */
#define CHUNK 512

/* Sums of a pair of channels: sum_b, and sum_ab = 256 * sum_a + sum_b, modulo 2^32. */
typedef struct {
    uint32_t b, ab;
} pair_sums;

static inline const int32_t *add_pair(const int32_t *w, uint32_t x, pair_sums *sums)
{
    sums->ab = (uint32_t)mcud_dot2((uint32_t)*w, x, (int32_t)sums->ab);
    sums->b = (uint32_t)mcud_dot2(mcud_bytes02((uint32_t)*w), x, (int32_t)sums->b);
    return w + 1;
}

static inline void add_totals(int32_t *totals, pair_sums sums)
{
    totals[0] += (int32_t)(sums.ab - sums.b) >> 8;
    totals[1] += (int32_t)sums.b;
}

/* The last one to three inputs as a word; the weights behind them are zero. */
static inline uint32_t last_inputs(const int8_t *x, int32_t count)
{
    uint32_t word = 0;
    for (int32_t i = 0; i < count; i++) {
        word |= (uint32_t)(uint8_t)x[i] << 8 * i;
    }
    return word;
}

/* Four inputs against two pairs of channels. */
static inline const int32_t *add_four(const int32_t *w, uint32_t word, pair_sums sums[2])
{
    w = add_pair(w, mcud_bytes02(word), &sums[0]);
    w = add_pair(w, mcud_bytes02(word), &sums[1]);
    w = add_pair(w, mcud_bytes13(word), &sums[0]);
    return add_pair(w, mcud_bytes13(word), &sums[1]);
}

#if MCUD_DSP

/* r8, r9, r10, r11: the sums b, ab, d, cd. */
#define FOUR                                                                                       \
    "ldr r12, [r1], #4\n"                                                                          \
    "ldmia r0!, {r4, r5, r6, r7}\n"                                                                \
    "sxtb16 lr, r12\n"                                                                             \
    "sxtb16 r12, r12, ror #8\n"                                                                    \
    "smlad r9, r4, lr, r9\n"                                                                       \
    "smlad r11, r5, lr, r11\n"                                                                     \
    "smlad r9, r6, r12, r9\n"                                                                      \
    "smlad r11, r7, r12, r11\n"                                                                    \
    "sxtb16 r4, r4\n"                                                                              \
    "sxtb16 r5, r5\n"                                                                              \
    "sxtb16 r6, r6\n"                                                                              \
    "sxtb16 r7, r7\n"                                                                              \
    "smlad r8, r4, lr, r8\n"                                                                       \
    "smlad r10, r5, lr, r10\n"                                                                     \
    "smlad r8, r6, r12, r8\n"                                                                      \
    "smlad r10, r7, r12, r10\n"

/*
 * Inputs [x, end), a multiple of four and no more than CHUNK, added to four totals (A, B, C, D).
 * Returns the weights after.
 */
__attribute__((naked, noinline)) static const int32_t *
add_fours(__attribute__((unused)) const int32_t *w, __attribute__((unused)) const int8_t *x,
          __attribute__((unused)) const int8_t *end, __attribute__((unused)) int32_t totals[4])
{
    __asm__ volatile(".syntax unified\n"
                     "push {r3-r11, lr}\n"
                     "subs r4, r2, r1\n"
                     "beq 3f\n"
                     "movs r8, #0\n"
                     "mov r9, r8\n"
                     "mov r10, r8\n"
                     "mov r11, r8\n"
                     "lsls r4, r4, #29\n" /* an odd number of fours: enter at the second */
                     "bmi 2f\n"
                     "1:\n" FOUR "2:\n" FOUR "cmp r1, r2\n"
                     "bne 1b\n"
                     "ldmia r3, {r4-r7}\n"
                     "sub r9, r9, r8\n"
                     "sub r11, r11, r10\n"
                     "add r4, r4, r9, asr #8\n"
                     "add r5, r5, r8\n"
                     "add r6, r6, r11, asr #8\n"
                     "add r7, r7, r10\n"
                     "stmia r3, {r4-r7}\n"
                     "3:\n"
                     "pop {r3-r11, pc}\n");
}

#else

static const int32_t *add_fours(const int32_t *w, const int8_t *x, const int8_t *end,
                                int32_t totals[4])
{
    pair_sums sums[2] = {{0, 0}, {0, 0}};
    for (; x < end; x += 4) {
        w = add_four(w, mcud_load4(x), sums);
    }
    add_totals(totals, sums[0]);
    add_totals(totals + 2, sums[1]);
    return w;
}

#endif

/* Requantization of consecutive channels. */
typedef struct {
    const int32_t *constants;
    int32_t step;
    int32_t term; /* 2 * zero point + 1 */
} requantizer;

static inline int8_t next_output(requantizer *r, int32_t total)
{
    const int32_t doubled = r->constants[0];
    const int32_t e = r->constants[1];
    r->constants += r->step;
    return (int8_t)mcud_requantize(total, doubled, r->term * (1 << e) >> 1, e);
}

static inline requantizer requantizer_of(const mcud_fully_connected_s8_t *p,
                                         const int32_t *constants)
{
    const requantizer r = {constants, p->per_channel ? 2 : 0, 2 * p->out_zero_point + 1};
    return r;
}

/* Two channels, the last ones; apart from wide_row, so that each keeps its registers. */
__attribute__((noinline)) static void last_pair(const mcud_fully_connected_s8_t *p, const int8_t *in, const int32_t *w,
                      const int32_t *constants, int32_t channel, int8_t *out)
{
    requantizer r = requantizer_of(p, constants);
    int32_t totals[2] = {w[0], w[1]};
    w += 2;
    for (int32_t left = p->in_c; left > 0; left -= CHUNK) {
        pair_sums sums = {0, 0};
        int32_t fours = mcud_min(left, CHUNK) >> 2;
        for (; fours > 1; fours -= 2, in += 8, w += 4) {
            const uint32_t first = mcud_load4(in);
            const uint32_t second = mcud_load4(in + 4);
            add_pair(w, mcud_bytes02(first), &sums);
            add_pair(w + 1, mcud_bytes13(first), &sums);
            add_pair(w + 2, mcud_bytes02(second), &sums);
            add_pair(w + 3, mcud_bytes13(second), &sums);
        }
        for (; fours > 0; fours--, in += 4) {
            const uint32_t word = mcud_load4(in);
            w = add_pair(w, mcud_bytes02(word), &sums);
            w = add_pair(w, mcud_bytes13(word), &sums);
        }
        if (left < CHUNK && left & 3) {
            const uint32_t word = last_inputs(in, left & 3);
            w = add_pair(w, mcud_bytes02(word), &sums);
            w = add_pair(w, mcud_bytes13(word), &sums);
        }
        add_totals(totals, sums);
    }
    out[channel] = next_output(&r, totals[0]);
    if (channel + 1 < p->out_c) {
        out[channel + 1] = next_output(&r, totals[1]);
    }
}

static void wide_row(const mcud_fully_connected_s8_t *p, const int8_t *in, int8_t *out)
{
    const int8_t *const end = in + (p->in_c & ~3);
    const int32_t rest = p->in_c & 3;
    const uint32_t last = last_inputs(end, rest);
    requantizer r = requantizer_of(p, p->requantization);
    const int32_t *w = p->packed;
    int32_t channel = 0;
    for (; channel + 2 < p->out_c; channel += 4) {
        int32_t totals[4] = {w[0], w[1], w[2], w[3]};
        w += 4;
        const int8_t *x = in;
        for (; end - x > CHUNK; x += CHUNK) {
            w = add_fours(w, x, x + CHUNK, totals);
        }
        w = add_fours(w, x, end, totals);
        if (rest) {
            pair_sums sums[2] = {{0, 0}, {0, 0}};
            w = add_four(w, last, sums);
            add_totals(totals, sums[0]);
            add_totals(totals + 2, sums[1]);
        }
        int8_t *const to = out + channel;
        to[0] = next_output(&r, totals[0]);
        to[1] = next_output(&r, totals[1]);
        to[2] = next_output(&r, totals[2]);
        if (channel + 3 < p->out_c) {
            to[3] = next_output(&r, totals[3]);
        }
    }
    if (channel < p->out_c) {
        last_pair(p, in, w, r.constants, channel, out);
    }
}

void mcud_fully_connected_s8(const mcud_fully_connected_s8_t *p, const int8_t *in, int8_t *out,
                             int32_t batches)
{
    for (; batches > 0; batches--, in += p->in_c, out += p->out_c) {
        if (p->out_c > 2) {
            wide_row(p, in, out);
        } else {
            last_pair(p, in, p->packed, p->requantization, 0, out);
        }
        if (p->clamp) {
            mcud_clamp_row(out, p->out_c, p->activation_min, p->activation_max);
        }
    }
}
