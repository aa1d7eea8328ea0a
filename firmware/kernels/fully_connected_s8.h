/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_FULLY_CONNECTED_S8_H
#define MCUD_FULLY_CONNECTED_S8_H

#include "mcud.h"

/*
 * A dense layer. `packed` is written by mcudeploy/operators/kernels/fully_connected.py: for four
 * output channels (A, B, C, D) at a time
 *     starts of the four sums (bias and input zero point)
 *     for each four inputs, four words: taps (0, 2) of A, B; of C, D; taps (1, 3) of A, B; of C, D
 * where a word holds 256 * w_A + w_B for two taps (see conv_s8.c); the inputs are filled up to a
 * multiple of four with zero weights. One or two channels that are left have two starts and two
 * words at a time. `requantization` holds (2m - 2^32, e) for each channel, or one pair for all.
 */
typedef struct {
    const int32_t *packed;
    const int32_t *requantization;
    int32_t in_c;
    int32_t out_c;
    int16_t per_channel;
    int16_t out_zero_point;
    int16_t activation_min, activation_max;
    int16_t clamp;
} mcud_fully_connected_s8_t;

/* FULLY_CONNECTED on int8: `batches` rows of in_c values give as many rows of out_c. */
void mcud_fully_connected_s8(const mcud_fully_connected_s8_t *p, const int8_t *in, int8_t *out,
                             int32_t batches);

#endif
