/* SPDX-License-Identifier: Apache-2.0
 *
 * SVDF: a rank-limited fully connected layer over the last `memory` time steps, int8 in and out,
 * with an int16 or int8 state that is kept between inferences.
 * Arithmetic: TFLM's reference kernel with double rounding.
 */
#ifndef MCUDEPLOY_SVDF_S8_H
#define MCUDEPLOY_SVDF_S8_H

#include <stdint.h>

/*
 * The state holds `memory` values a filter, the oldest first. A step forgets the oldest and appends
 * the product of the input with the filter's `feature` weights (filters x in_c); a unit's output is
 * the sum over its `rank` filters of state times `time` weights (filters x memory).
 */
typedef struct {
    const int8_t *feature;
    const void *time; /* of the state's type */
    const int32_t *biases; /* one a unit, or NULL */
    int32_t in_c, units, rank, memory;
    int32_t in_zero_point, state_zero_point, out_zero_point;
    int32_t state_multiplier, state_shift;
    int32_t out_multiplier, out_shift;
} mcud_svdf_s8_t;

/* No scratch. The whole input is read before any output is written: they may share bytes. */
void mcud_svdf_s8_state_s16(const mcud_svdf_s8_t *p, const int8_t *in, int16_t *state, int8_t *out);
void mcud_svdf_s8_state_s8(const mcud_svdf_s8_t *p, const int8_t *in, int8_t *state, int8_t *out);

#endif
