/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_FULLY_CONNECTED_PLAIN_S8_H
#define MCUD_FULLY_CONNECTED_PLAIN_S8_H

#include "mcud.h"

/*
 * A dense layer on a core without DSP instructions. `weights`, aligned to 4, are in_c words of four
 * channels' bytes for each four channels, then the one to three channels that are left, each in_c
 * bytes. `starts` are those of the sums (bias and input zero point); `requantization` holds
 * (2m - 2^32, e) for each channel, or one pair for all.
 */
typedef struct {
    const int8_t *weights;
    const int32_t *starts;
    const int32_t *requantization;
    int32_t in_c;
    int32_t out_c;
    int16_t per_channel;
    int16_t out_zero_point;
    int16_t activation_min, activation_max;
    int16_t clamp;
} mcud_fully_connected_plain_s8_t;

/* FULLY_CONNECTED on int8: `batches` rows of in_c values give as many rows of out_c. */
void mcud_fully_connected_plain_s8(const mcud_fully_connected_plain_s8_t *p, const int8_t *in,
                                   int8_t *out, int32_t batches);

#endif
