/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inner products of conv_s8.c, explained there: three or two pixels by two channels, in
 * assembly for cores with DSP instructions and in C for others.
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
    int32_t pixel1;        /* bytes from pixel 0 to pixel 1; 0: there is none, pixel 0 goes over it */
    int32_t pixel2;        /* and to pixel 2, in tiles of three */
    int8_t *out_end;       /* where `out` stands after the last pair */
    const uint32_t *patch;
    int32_t skip;            /* bytes of the unrolled loop that the first round leaves out */
    int32_t zero_point_term; /* 2 * zero point + 1 */
    const uint32_t *patch_end;
} mcud_tile;

/* Bytes of code for two pairs of taps. */
#define MAC2_OF_THREE 64
#define MAC2_OF_TWO 46
#define UNROLLED 4

#if MCUD_DSP

/* Two pairs of taps: 3 pixels, 2 channels, 24 MACs. */
#define THREE                                                                                      \
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

/* Two pairs of taps: 2 pixels, 2 channels, 16 MACs. */
#define TWO                                                                                        \
    "ldmia r0!, {r2, r3, r4, r5}\n"                                                                \
    "ldrd r6, r7, [r1], #8\n"                                                                      \
    "smlad r8, r6, r2, r8\n"                                                                       \
    "smlad r9, r6, r3, r9\n"                                                                       \
    "sxtb16 r6, r6\n"                                                                              \
    "smlad r11, r6, r2, r11\n"                                                                     \
    "smlad r12, r6, r3, r12\n"                                                                     \
    "smlad r8, r7, r4, r8\n"                                                                       \
    "smlad r9, r7, r5, r9\n"                                                                       \
    "sxtb16 r7, r7\n"                                                                              \
    "smlad r11, r7, r4, r11\n"                                                                     \
    "smlad r12, r7, r5, r12\n"

/* An instruction for each of some registers r. */
#define EACH(registers, instruction)                                                               \
    ".irp r, " registers "\n" instruction "\n.endr\n"

/* Sums of channel A and of channel B at all pixels. r4, r6: multipliers; r5, r7: addends. */
#define REQUANTIZE(sums_a, sums_b)                                                                 \
    EACH(sums_a, "smmla \\r, \\r, r4, r5")                                                         \
    EACH(sums_b, "smmla \\r, \\r, r6, r7")                                                         \
    EACH(sums_a, "ssat \\r, #8, \\r, asr #13") /* SHIFT_A */                                       \
    EACH(sums_b, "ssat \\r, #8, \\r, asr #5")  /* SHIFT_B */

/* The exact sequence. r4, r6: 2m - 2^32; low bytes of r5, r7: e; r3: the zero point's term. */
#define REQUANTIZE_EXACTLY(sums_a, sums_b)                                                         \
    EACH(sums_a, "asr \\r, \\r, #8")                                                               \
    EACH(sums_a, "smmlar \\r, \\r, r4, \\r")                                                       \
    EACH(sums_b, "smmlar \\r, \\r, r6, \\r")                                                       \
    "lsl r0, r3, r5\n"                                                                             \
    "asrs r0, r0, #1\n"                                                                            \
    "lsl r3, r3, r7\n"                                                                             \
    "asrs r3, r3, #1\n"                                                                            \
    EACH(sums_a ", " sums_b, "add \\r, \\r, \\r, asr #31")                                         \
    EACH(sums_a, "add \\r, \\r, r0")                                                               \
    EACH(sums_b, "add \\r, \\r, r3")                                                               \
    EACH(sums_a, "asr \\r, \\r, r5")                                                               \
    EACH(sums_b, "asr \\r, \\r, r7")                                                               \
    EACH(sums_a ", " sums_b, "ssat \\r, #8, \\r")

/* From mcud_tile at r0: the first address into the unrolled rounds, the rest on the stack. */
#define TILE_ON_STACK                                                                              \
    "push {r4-r11, lr}\n"                                                                          \
    "ldmia r0, {r3-r10}\n"                                                                         \
    "adr r12, 1f\n"                                                                                \
    "add r8, r8, r12\n"                                                                            \
    "add r8, r8, #1\n" /* Thumb */                                                                 \
    "push {r3-r9}\n"

#define STOP_UNLESS(condition, complaint)                                                          \
    ".if !(" condition ")\n.error \"" complaint "\"\n.endif\n"

/* All pairs of channels of a group for the three pixels of a tile. Returns the weights after. */
__attribute__((naked, noinline)) static const int32_t *
multiply_three(__attribute__((unused)) const mcud_tile *tile,
               __attribute__((unused)) const int32_t *packed)
{
    __asm__ volatile(
        ".syntax unified\n" TILE_ON_STACK
        "mov r2, r10\n"
        ".balign 4\n"
        "6:\n"
        "ldrd r11, r8, [r1], #8\n"
        "ldr r0, [sp, #16]\n"
        /* The first round takes the starts as addends instead of six moves. */
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
        "1:\n" THREE THREE THREE THREE
        "2:\n" STOP_UNLESS("2b - 1b == 4 * 64", "MAC2_OF_THREE is wrong")
        "cmp r0, r2\n"
        "bne 1b\n"
        "ldmia r1!, {r4-r7}\n"
        "sub r8, r8, r11\n"
        "sub r9, r9, r12\n"
        "sub r10, r10, lr\n"
        "tst r5, #0x300\n"
        "bne 7f\n"
        REQUANTIZE("r8, r9, r10", "r11, r12, lr")
        "4:\n"
        "ldmia sp, {r3-r6}\n"
        "bfi r8, r11, #8, #8\n"
        "bfi r9, r12, #8, #8\n"
        "bfi r10, lr, #8, #8\n"
        "strh r10, [r3, r5]\n"
        "strh r9, [r3, r4]\n"
        "strh r8, [r3], #2\n"
        "str r3, [sp]\n"
        "cmp r3, r6\n"
        "bne 6b\n"
        "8:\n"
        "add sp, #28\n"
        "mov r0, r1\n"
        "pop {r4-r11, pc}\n"
        "7:\n"
        "ldr r3, [sp, #24]\n" REQUANTIZE_EXACTLY("r8, r9, r10", "r11, r12, lr")
        "tst r5, #0x200\n"
        "beq 4b\n"
        "ldmia sp, {r3-r5}\n"
        "strb r10, [r3, r5]\n"
        "strb r9, [r3, r4]\n"
        "strb r8, [r3]\n"
        "b 8b\n");
}

/* The same for a tile of two. */
__attribute__((naked, noinline)) static const int32_t *
multiply_two(__attribute__((unused)) const mcud_tile *tile,
             __attribute__((unused)) const int32_t *packed)
{
    __asm__ volatile(
        ".syntax unified\n" TILE_ON_STACK
        "mov lr, r10\n"
        ".balign 4\n"
        "6:\n"
        "ldrd r11, r8, [r1], #8\n"
        "ldr r0, [sp, #16]\n"
        "ldmia r0!, {r2, r3, r4, r5}\n"
        "ldrd r6, r7, [r1], #8\n"
        "smlad r9, r6, r3, r8\n"
        "smlad r8, r6, r2, r8\n"
        "sxtb16 r6, r6\n"
        "smlad r12, r6, r3, r11\n"
        "smlad r11, r6, r2, r11\n"
        "smlad r8, r7, r4, r8\n"
        "smlad r9, r7, r5, r9\n"
        "sxtb16 r7, r7\n"
        "smlad r11, r7, r4, r11\n"
        "smlad r12, r7, r5, r12\n"
        "ldr pc, [sp, #20]\n"
        ".balign 4\n"
        "1:\n" TWO TWO TWO TWO
        "2:\n" STOP_UNLESS("2b - 1b == 4 * 46", "MAC2_OF_TWO is wrong")
        "cmp r0, lr\n"
        "bne 1b\n"
        "ldmia r1!, {r4-r7}\n"
        "sub r8, r8, r11\n"
        "sub r9, r9, r12\n"
        "tst r5, #0x300\n"
        "bne 7f\n"
        REQUANTIZE("r8, r9", "r11, r12")
        "4:\n"
        "ldmia sp, {r3-r6}\n"
        "bfi r8, r11, #8, #8\n"
        "bfi r9, r12, #8, #8\n"
        "strh r9, [r3, r4]\n" /* before pixel 0, which goes over it where it is absent */
        "strh r8, [r3], #2\n"
        "str r3, [sp]\n"
        "cmp r3, r6\n"
        "bne 6b\n"
        "8:\n"
        "add sp, #28\n"
        "mov r0, r1\n"
        "pop {r4-r11, pc}\n"
        "7:\n"
        "ldr r3, [sp, #24]\n" REQUANTIZE_EXACTLY("r8, r9", "r11, r12")
        "tst r5, #0x200\n"
        "beq 4b\n"
        "ldmia sp, {r3-r4}\n"
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

/*
 * A run of n bytes of one pixel of a tile whose pixels are so many. Returns where the next run goes,
 * as all that expand do.
 */
__attribute__((naked, noinline)) static uint32_t *
expand_one(__attribute__((unused)) const int8_t *run, __attribute__((unused)) int32_t n,
           __attribute__((unused)) uint32_t *to, __attribute__((unused)) int32_t pixels)
{
    __asm__ volatile(".syntax unified\n"
                     "push {r4, lr}\n"
                     "lsl r3, r3, #2\n"
                     "subs r1, r1, #4\n"
                     "blt 2f\n"
                     "1:\n"
                     "ldr r12, [r0], #4\n"
                     "subs r1, r1, #4\n"
                     "sxtb16 r4, r12\n"
                     "str r4, [r2]\n"
                     "sxtb16 r4, r12, ror #8\n"
                     "str r4, [r2, r3]\n"
                     "add r2, r2, r3, lsl #1\n"
                     "bge 1b\n"
                     "2:\n"
                     "adds r1, r1, #4\n"
                     "beq 4f\n"
                     "ldrsb r12, [r0]\n"
                     "uxth r12, r12\n"
                     "cmp r1, #2\n"
                     "blt 3f\n"
                     "ldrsb r4, [r0, #1]\n"
                     "orr r12, r12, r4, lsl #16\n"
                     "beq 3f\n"
                     "str r12, [r2]\n"
                     "add r2, r2, r3\n"
                     "ldrsb r12, [r0, #2]\n"
                     "uxth r12, r12\n"
                     "3:\n"
                     "str r12, [r2]\n"
                     "add r2, r2, r3\n"
                     "4:\n"
                     "mov r0, r2\n"
                     "pop {r4, pc}\n");
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

static const int32_t *multiply(const mcud_tile *tile, const int32_t *packed, int32_t pixels)
{
    const int32_t at[3] = {0, tile->pixel1, tile->pixel2};
    for (int8_t *out = tile->out; out < tile->out_end; out += 2) {
        const uint32_t init_b = (uint32_t)packed[0];
        const uint32_t init_h = (uint32_t)packed[1];
        const int32_t *const weights = packed + 2;
        packed = weights + (tile->patch_end - tile->patch) / pixels;
        for (int32_t pixel = pixels - 1; pixel >= 0; pixel--) {
            const uint32_t *x = tile->patch + pixel;
            uint32_t sum_b = init_b;
            uint32_t sum_h = init_h;
            for (const int32_t *w = weights; w < packed; w++, x += pixels) {
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

static const int32_t *multiply_three(const mcud_tile *tile, const int32_t *packed)
{
    return multiply(tile, packed, 3);
}

static const int32_t *multiply_two(const mcud_tile *tile, const int32_t *packed)
{
    return multiply(tile, packed, 2);
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

static uint32_t *expand_one(const int8_t *run, int32_t n, uint32_t *to, int32_t pixels)
{
    for (; n >= 4; n -= 4, run += 4, to += 2 * pixels) {
        const uint32_t word = mcud_load4(run);
        to[0] = mcud_bytes02(word);
        to[pixels] = mcud_bytes13(word);
    }
    for (; n > 0; n -= 2, run += 2, to += pixels) {
        *to = mcud_pair(run[0], n > 1 ? run[1] : 0);
    }
    return to;
}

#endif

#endif
