/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dense layers without DSP instructions, four output channels at a time: each input is loaded once
 * for four channels, whose weights for it come in one word.
 */
#include "fully_connected_plain_s8.h"

#define CHANNELS 4

#if defined(__ARM_ARCH_6M__)

/* One input: r5, against its word r4; the totals are r8 to r11. */
#define STEP                                                                                       \
    "ldmia r0!, {r4}\n"                                                                            \
    "ldrsb r5, [r1, r7]\n"                                                                         \
    "adds r7, #1\n"                                                                                \
    "sxtb r6, r4\n"                                                                                \
    "muls r6, r5\n"                                                                                \
    "add r8, r6\n"                                                                                 \
    "lsls r6, r4, #16\n"                                                                           \
    "asrs r6, #24\n"                                                                               \
    "muls r6, r5\n"                                                                                \
    "add r9, r6\n"                                                                                 \
    "lsls r6, r4, #8\n"                                                                            \
    "asrs r6, #24\n"                                                                               \
    "muls r6, r5\n"                                                                                \
    "add r10, r6\n"                                                                                \
    "asrs r4, #24\n"                                                                               \
    "muls r4, r5\n"                                                                                \
    "add r11, r4\n"

/* Four sums in the upper registers, which a compiler moves to and fro. */
__attribute__((naked, noinline)) static void
add_four_channels(__attribute__((unused)) const int32_t *words,
                  __attribute__((unused)) const int8_t *x, __attribute__((unused)) int32_t count,
                  __attribute__((unused)) int32_t *totals)
{
    __asm__ volatile(".syntax unified\n"
                     "push {r3-r7, lr}\n"
                     "mov r4, r8\n"
                     "mov r5, r9\n"
                     "mov r6, r10\n"
                     "mov r7, r11\n"
                     "push {r4-r7}\n"
                     "ldmia r3!, {r4-r7}\n"
                     "mov r8, r4\n"
                     "mov r9, r5\n"
                     "mov r10, r6\n"
                     "mov r11, r7\n"
                     "movs r7, #0\n"
                     "lsls r4, r2, #31\n" /* an odd number: enter at the second */
                     "bne 2f\n"
                     "1:\n" STEP "2:\n" STEP "cmp r7, r2\n"
                     "bne 1b\n"
                     "ldr r0, [sp, #16]\n"
                     "mov r4, r8\n"
                     "mov r5, r9\n"
                     "mov r6, r10\n"
                     "mov r7, r11\n"
                     "stmia r0!, {r4-r7}\n"
                     "pop {r4-r7}\n"
                     "mov r8, r4\n"
                     "mov r9, r5\n"
                     "mov r10, r6\n"
                     "mov r11, r7\n"
                     "pop {r3-r7, pc}\n");
}

#else

/* Input i against its word. */
#define STEP(i)                                                                                    \
    do {                                                                                           \
        const int32_t value = x[i];                                                                \
        const int32_t word = words[i];                                                             \
        a += (int8_t)word * value;                                                                 \
        b += (int8_t)(word >> 8) * value;                                                          \
        c += (int8_t)(word >> 16) * value;                                                         \
        d += (word >> 24) * value;                                                                 \
    } while (0)

static void add_four_channels(const int32_t *words, const int8_t *x, int32_t count, int32_t *totals)
{
    const int8_t *const end = x + count;
    int32_t a = totals[0];
    int32_t b = totals[1];
    int32_t c = totals[2];
    int32_t d = totals[3];
    for (; end - x >= 4; x += 4, words += 4) {
        STEP(0);
        STEP(1);
        STEP(2);
        STEP(3);
    }
    for (; x < end; x++, words++) {
        STEP(0);
    }
    totals[0] = a;
    totals[1] = b;
    totals[2] = c;
    totals[3] = d;
}

#endif

static int32_t add_one_channel(const int8_t *w, const int8_t *x, int32_t count, int32_t total)
{
    const int8_t *const end = x + count;
    for (; end - x >= 4; x += 4, w += 4) {
        total += x[0] * w[0];
        total += x[1] * w[1];
        total += x[2] * w[2];
        total += x[3] * w[3];
    }
    for (; x < end; x++, w++) {
        total += *x * *w;
    }
    return total;
}

static void one_row(const mcud_fully_connected_plain_s8_t *p, const int8_t *in, int8_t *out)
{
    const int32_t *constants = p->requantization;
    const int8_t *w = p->weights;
    for (int32_t channel = 0; channel < p->out_c; channel += CHANNELS) {
        const int32_t count = mcud_min(CHANNELS, p->out_c - channel);
        int32_t totals[CHANNELS];
        for (int32_t i = 0; i < count; i++) {
            totals[i] = p->starts[channel + i];
        }
        if (count == CHANNELS) {
            add_four_channels((const int32_t *)(const void *)w, in, p->in_c, totals);
        } else {
            for (int32_t i = 0; i < count; i++) {
                totals[i] = add_one_channel(w + i * p->in_c, in, p->in_c, totals[i]);
            }
        }
        w += count * p->in_c;
        for (int32_t i = 0; i < count; i++) {
            const int32_t e = constants[1];
            const int32_t offset = mcud_requantize_offset(p->out_zero_point, e);
            out[channel + i] = (int8_t)mcud_requantize(totals[i], constants[0], offset, e);
            constants += p->per_channel ? 2 : 0;
        }
    }
}

void mcud_fully_connected_plain_s8(const mcud_fully_connected_plain_s8_t *p, const int8_t *in,
                                   int8_t *out, int32_t batches)
{
    for (; batches > 0; batches--, in += p->in_c, out += p->out_c) {
        one_row(p, in, out);
        if (p->clamp) {
            mcud_clamp_row(out, p->out_c, p->activation_min, p->activation_max);
        }
    }
}
