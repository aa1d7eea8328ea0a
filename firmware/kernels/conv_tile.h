/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inner product of conv_s8.c, explained there: three pixels by two channels, in assembly for
 * cores with DSP instructions and in C for others.
 */
#ifndef MCUD_CONV_TILE_H
#define MCUD_CONV_TILE_H

#include "mcud.h"

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

#endif
