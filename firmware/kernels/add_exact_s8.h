/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_ADD_EXACT_S8_H
#define MCUD_ADD_EXACT_S8_H

#include "mcud.h"

/*
 * ADD of two maps of the same shape by TFLite's own steps, for sums that no factors of mcud_add_s8
 * give: each input less its zero point, times 2^20, times m / 2^(31 + e), rounded twice; then so
 * the sum of both. `doubled` is 2m - 2^32 (0 for a multiplier of one half, with e = 1), 1 <= e <= 30
 * for inputs, 1 <= e <= 20 for the output.
 */
typedef struct {
    int32_t doubled1, doubled2, doubled_out;
    int16_t zero_point1, zero_point2, zero_point_out;
    int16_t exponent1, exponent2, exponent_out;
    int16_t activation_min, activation_max;
    int16_t clamp;
} mcud_add_exact_s8_t;

/* ADD on int8. Each output is written after the inputs at its place and before were read. */
void mcud_add_exact_s8(const mcud_add_exact_s8_t *p, const int8_t *in1, const int8_t *in2,
                       int8_t *out, int32_t count);

#endif
