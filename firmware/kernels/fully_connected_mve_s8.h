/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_FULLY_CONNECTED_MVE_S8_H
#define MCUD_FULLY_CONNECTED_MVE_S8_H

#include "mcud.h"

/*
 * A dense layer on a core with Helium. `weights` are out_c rows of in_c bytes; `starts` are those of
 * the sums (bias and input zero point). `multipliers` (m in [2^30, 2^31)) and `shifts` (-e, to the
 * right by 1 to 20) are one for each channel, or one for all. No scratch.
 */
typedef struct {
    const int8_t *weights;
    const int32_t *starts;
    const int32_t *multipliers;
    const int32_t *shifts;
    int32_t in_c;
    int32_t out_c;
    int16_t per_channel;
    int16_t out_zero_point;
    int16_t activation_min, activation_max;
} mcud_fully_connected_mve_s8_t;

/*
 * FULLY_CONNECTED on int8: `batches` rows of in_c values give as many rows of out_c. Four channels
 * are written when all inputs of their row were read for them.
 */
void mcud_fully_connected_mve_s8(const mcud_fully_connected_mve_s8_t *p, const int8_t *in,
                                 int8_t *out, int32_t batches);

#endif
