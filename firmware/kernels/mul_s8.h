/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_MUL_S8_H
#define MCUD_MUL_S8_H

#include "mcud.h"

/*
 * MUL: the product of the centred inputs, requantized. `fast` says that (start, multiplier,
 * addend) are as in conv_s8.c with shift 5; else they are (0, 2m - 2^32, e).
 * `repeats` rows of `count` elements of input 1 meet the same `count` elements of input 2 (1: both
 * maps have the same shape).
 */
typedef struct {
    int32_t start;
    int32_t multiplier;
    int32_t addend;
    int32_t fast;
    int16_t zero_point1, zero_point2, out_zero_point;
    int16_t activation_min, activation_max;
    int16_t clamp;
} mcud_mul_s8_t;

/* MUL on int8. Each output is written after the inputs at its place and before were read. */
void mcud_mul_s8(const mcud_mul_s8_t *p, const int8_t *in1, const int8_t *in2, int8_t *out,
                 int32_t count, int32_t repeats);

#endif
