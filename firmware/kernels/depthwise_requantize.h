/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How depthwise kernels requantize a channel: by one product and a shift of SHIFT bits, or exactly
 * where its constants carry FLAG_EXACT. In assembly for the sums of two outputs in r11 and r12,
 * with the multiplier and the addend at sp.
 */
#ifndef MCUD_DEPTHWISE_REQUANTIZE_H
#define MCUD_DEPTHWISE_REQUANTIZE_H

#define SHIFT 2
#define FLAG_EXACT 0x100

#define FAST                                                                                       \
    "ldrd r3, r4, [sp]\n"                                                                          \
    "smmla r11, r11, r3, r4\n"                                                                     \
    "smmla r12, r12, r3, r4\n"                                                                     \
    "ssat r11, #8, r11, asr #2\n"                                                                  \
    "ssat r12, #8, r12, asr #2\n"

/* The exponent lies so many bytes above sp. */
#define EXACT(exponent)                                                                            \
    "ldrd r3, r4, [sp]\n"                                                                          \
    "smmlar r11, r11, r3, r11\n"                                                                   \
    "smmlar r12, r12, r3, r12\n"                                                                   \
    "ldr r3, [sp, #" exponent "]\n"                                                                \
    "add r11, r11, r11, asr #31\n"                                                                 \
    "add r12, r12, r12, asr #31\n"                                                                 \
    "add r11, r11, r4\n"                                                                           \
    "add r12, r12, r4\n"                                                                           \
    "asr r11, r11, r3\n"                                                                           \
    "asr r12, r12, r3\n"                                                                           \
    "ssat r11, #8, r11\n"                                                                          \
    "ssat r12, #8, r12\n"

#endif
