/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_STEP_FULLY_CONNECTED_S8_H
#define MCUD_STEP_FULLY_CONNECTED_S8_H

#include <stddef.h>
#include <stdint.h>

/*
 * A dense layer that runs in many time steps, each with scales and zero points of its own. What all
 * steps share stands once: `weights`, out_c rows of in_c bytes; `sums` of each row; `scales`, the
 * weights' scale of each row as the bits of a single-precision number, or one for all rows (then
 * per_row is 0); `biases`, or NULL. A step differs in its zero points and in input scale / output
 * scale = (ratio_high * 2^32 + ratio_low) * 2^(exponent - 64), where ratio_high >= 2^31.
 */
typedef struct {
    const int8_t *weights;
    const int32_t *sums;
    const uint32_t *scales;
    const int32_t *biases;
    int32_t in_c;
    int32_t out_c;
    int32_t per_row;
    uint32_t ratio_high;
    uint32_t ratio_low;
    int32_t exponent;
    int32_t in_zero_point;
    int32_t out_zero_point;
    int32_t activation_min;
    int32_t activation_max;
} mcud_step_fully_connected_s8_t;

/*
 * FULLY_CONNECTED on int8: `rows` rows of in_c values give as many rows of out_c. No scratch.
 *
 * The multiplier of a row is the product of its scale and the step's ratio, rounded to 31 bits as
 * TFLite's QuantizeMultiplier rounds the quotient; the generator has proven both equal for every
 * row and step. From there the arithmetic is TFLite's MultiplyByQuantizedMultiplier.
 */
void mcud_step_fully_connected_s8(const mcud_step_fully_connected_s8_t *p, const int8_t *in,
                                  int8_t *out, int32_t rows);

#endif
