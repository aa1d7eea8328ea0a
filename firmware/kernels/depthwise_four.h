/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inner loops of depthwise_rows_s8.c, explained there: four channels of a part of a row from
 * their blocks, two outputs at a time, in assembly for cores with DSP instructions and in C for
 * others.
 */
#ifndef MCUD_DEPTHWISE_FOUR_H
#define MCUD_DEPTHWISE_FOUR_H

#include "depthwise_requantize.h"
#include "depthwise_rows_s8.h"

#define BLOCK MCUD_DEPTHWISE_BLOCK

/* Where a channel has the weights of each kernel row. */
static const uint8_t PLACES[3][3] = {{0, 1, 4}, {2, 3, 6}, {5, 7, 8}};

/* Four channels of a part of a row. The assembly knows the order, and works on a copy. */
typedef struct {
    int32_t multiplier, addend, exponent; /* room for those of a channel */
    int32_t offset;         /* 2 * zero point + 1 */
    const uint32_t *blocks; /* of the next channel, as all pointers */
    int8_t *out;
    const int8_t *weights;
    const int32_t *constants;
    int32_t walked;         /* bytes of blocks to behind the last pair of outputs */
    int32_t pixel_bytes;    /* from an output to its right neighbour */
    int32_t odd;            /* an output is left behind the last pair */
    int32_t left;           /* channels */
} four_channels;

#if MCUD_DSP

/* Weights in r5 to r9, start in r10, blocks r0 to r2, output r1, pixel_bytes lr. */
#define ENTER                                                                                      \
    ".syntax unified\n"                                                                            \
    "push {r4-r11, lr}\n"                                                                          \
    "sub sp, #48\n"                                                                                \
    "ldmia r0, {r0-r11}\n"                                                                         \
    "stmia sp, {r0-r11}\n"                                                                         \
    "1:\n"                                                                                         \
    "ldrd r2, r3, [sp, #24]\n"                                                                     \
    "ldr r4, [r2]\n"                                                                               \
    "ldr r7, [r2, #4]\n"                                                                           \
    "ldrsb r9, [r2, #8]\n"                                                                         \
    "adds r2, #9\n"                                                                                \
    "ldmia r3!, {r10, r11, r12}\n"                                                                 \
    "strd r2, r3, [sp, #24]\n"                                                                     \
    "sxtb16 r5, r4\n"                                                                              \
    "sxtb16 r6, r4, ror #8\n"                                                                      \
    "sxtb16 r8, r7, ror #8\n"                                                                      \
    "sxtb16 r7, r7\n"                                                                              \
    "lsl r9, r9, #16\n"                                                                            \
    "pkhtb r9, r9, r8, asr #16\n"                                                                  \
    "ldrd r0, r1, [sp, #16]\n"                                                                     \
    "add r3, r0, #12\n"                                                                            \
    "adds r4, r1, #1\n"                                                                            \
    "strd r3, r4, [sp, #16]\n"                                                                     \
    "ldrd r2, lr, [sp, #32]\n"                                                                     \
    "add r2, r0\n"                                                                                 \
    "lsls r3, r12, #23\n"                                                                          \
    "bmi 5f\n"                                                                                     \
    "strd r11, r12, [sp]\n"

#define ENTER_EXACT                                                                                \
    "5:\n"                                                                                         \
    "uxtb r4, r12\n"                                                                               \
    "ldr r3, [sp, #12]\n"                                                                          \
    "str r4, [sp, #8]\n"                                                                           \
    "lsls r3, r4\n"                                                                                \
    "asrs r3, #1\n"                                                                                \
    "strd r11, r3, [sp]\n"

/* r11, r12: two outputs' sums. */
#define MACS_1                                                                                     \
    "ldrd r3, r4, [r0]\n"                                                                          \
    "smlad r11, r3, r5, r10\n"                                                                     \
    "smlad r12, r4, r5, r10\n"                                                                     \
    "smlad r11, r4, r6, r11\n"                                                                     \
    "ldr r3, [r0, #8]\n"                                                                           \
    "smlad r11, r3, r8, r11\n"                                                                     \
    "smlatb r12, r3, r8, r12\n"                                                                    \
    "ldrd r3, r4, [r0, #48]!\n"                                                                    \
    "smlad r11, r3, r7, r11\n"                                                                     \
    "smlad r12, r3, r6, r12\n"                                                                     \
    "smlad r12, r4, r7, r12\n"                                                                     \
    "ldr r3, [r0, #8]\n"                                                                           \
    "smlabt r11, r3, r9, r11\n"                                                                    \
    "smlad r12, r3, r9, r12\n"

#define MACS_2                                                                                     \
    "ldrd r3, r4, [r0]\n"                                                                          \
    "smlad r11, r3, r5, r10\n"                                                                     \
    "smlad r11, r4, r6, r11\n"                                                                     \
    "ldrd r3, r4, [r0, #48]\n"                                                                     \
    "smlad r11, r3, r7, r11\n"                                                                     \
    "smlad r12, r3, r5, r10\n"                                                                     \
    "smlad r12, r4, r6, r12\n"                                                                     \
    "ldr r3, [r0, #8]\n"                                                                           \
    "ldr r4, [r0, #56]\n"                                                                          \
    "smlad r11, r3, r8, r11\n"                                                                     \
    "smlabt r11, r4, r9, r11\n"                                                                    \
    "smlad r12, r4, r8, r12\n"                                                                     \
    "ldr r3, [r0, #96]!\n"                                                                         \
    "ldr r4, [r0, #8]\n"                                                                           \
    "smlad r12, r3, r7, r12\n"                                                                     \
    "smlabt r12, r4, r9, r12\n"

/* The output behind the last pair, of any stride. */
#define LAST                                                                                       \
    "ldrd r3, r4, [r0]\n"                                                                          \
    "smlad r11, r3, r5, r10\n"                                                                     \
    "smlad r11, r4, r6, r11\n"                                                                     \
    "ldr r3, [r0, #48]\n"                                                                          \
    "ldr r4, [r0, #8]\n"                                                                           \
    "smlad r11, r3, r7, r11\n"                                                                     \
    "smlad r11, r4, r8, r11\n"                                                                     \
    "ldr r3, [r0, #56]\n"                                                                          \
    "smlabt r11, r3, r9, r11\n"                                                                    \
    "ldrd r3, r4, [sp]\n"

#define LAST_FAST                                                                                  \
    LAST "smmla r11, r11, r3, r4\n"                                                                \
         "ssat r11, #8, r11, asr #2\n"

#define LAST_EXACT                                                                                 \
    LAST "smmlar r11, r11, r3, r11\n"                                                              \
         "ldr r3, [sp, #8]\n"                                                                      \
         "add r11, r11, r11, asr #31\n"                                                            \
         "add r11, r11, r4\n"                                                                      \
         "asr r11, r11, r3\n"                                                                      \
         "ssat r11, #8, r11\n"

#define OUTPUTS(macs, requantize, last)                                                            \
    "cmp r0, r2\n"                                                                                 \
    "beq 3f\n"                                                                                     \
    "2:\n" macs requantize                                                                         \
    "strb r12, [r1, lr]\n"                                                                         \
    "strb r11, [r1]\n"                                                                             \
    "add r1, r1, lr, lsl #1\n"                                                                     \
    "cmp r0, r2\n"                                                                                 \
    "bne 2b\n"                                                                                     \
    "3:\n"                                                                                         \
    "ldrd r3, r4, [sp, #40]\n"                                                                     \
    "subs r4, #1\n"                                                                                \
    "str r4, [sp, #44]\n"                                                                          \
    "cbz r3, 4f\n" last                                                                            \
    "strb r11, [r1]\n"                                                                             \
    "ldr r4, [sp, #44]\n"                                                                          \
    "4:\n"                                                                                         \
    "cmp r4, #0\n"                                                                                 \
    "bne 1b\n"                                                                                     \
    "add sp, #48\n"                                                                                \
    "pop {r4-r11, pc}\n"

#define FOUR(name, macs)                                                                           \
    __attribute__((naked, noinline)) static void name(                                             \
        __attribute__((unused)) const four_channels *f)                                            \
    {                                                                                              \
        __asm__ volatile(ENTER OUTPUTS(macs, FAST, LAST_FAST)                                      \
                             ENTER_EXACT OUTPUTS(macs, EXACT("8"), LAST_EXACT));                        \
    }

FOUR(convolve_stride1, MACS_1)
FOUR(convolve_stride2, MACS_2)

static inline void convolve_four(int32_t stride, const four_channels *f)
{
    (stride == 1 ? convolve_stride1 : convolve_stride2)(f);
}

#else

/* What the assembly computes, reading the same words. */
static void convolve_four(int32_t stride, const four_channels *f)
{
    const int32_t outputs = f->walked / (4 * BLOCK * stride) * 2 + f->odd;
    for (int32_t i = 0; i < 4; i++) {
        const int8_t *const weights = f->weights + 9 * i;
        const int32_t *const constants = f->constants + 3 * i;
        for (int32_t x = 0; x < outputs; x++) {
            int32_t sum = constants[0];
            for (int32_t kx = 0; kx < 3; kx++) {
                const int32_t column = x * stride + kx;
                const uint32_t *const words = f->blocks + column / 2 * BLOCK + 3 * i;
                const uint32_t below = column & 1 ? words[2] >> 16 : words[2] & 0xFFFF;
                sum = mcud_dot2(words[column & 1],
                                mcud_pair(weights[PLACES[0][kx]], weights[PLACES[1][kx]]), sum);
                sum = mcud_dot2(below, mcud_pair(weights[PLACES[2][kx]], 0), sum);
            }
            if (constants[2] & FLAG_EXACT) {
                const int32_t e = constants[2] & 0xFF;
                sum = mcud_requantize(sum, constants[1], f->offset * (1 << e) >> 1, e);
            } else {
                sum = mcud_saturate8(mcud_high_mla(sum, constants[1], constants[2]) >> SHIFT);
            }
            f->out[x * f->pixel_bytes + i] = (int8_t)sum;
        }
    }
}

#endif

#endif
