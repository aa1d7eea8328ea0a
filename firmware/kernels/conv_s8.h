/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_CONV_S8_H
#define MCUD_CONV_S8_H

#include "conv_layer.h"

/*
 * A convolution. `packed` is written by mcudeploy/operators/kernels/conv.py: for each group and
 * each pair of output channels (A, B)
 *     init_b, init_h                     int32 starts of the two accumulators
 *     steps words                        two int16 each: 256 * w_A + w_B for two taps
 *     mult_a, add_a, mult_b, add_b       requantization; two flags in add_a (see conv_s8.c)
 * A patch has `steps` pairs of taps (even, zero weights fill it): each run of adjacent taps, one
 * kernel row of k_w * in_c / groups bytes, gives its bytes in fours as the pairs (0, 2), (1, 3),
 * and the one to three bytes that are left as (0, 1), (2, padding).
 */
typedef struct {
    const int32_t *packed;
    int32_t steps;
    int32_t tile; /* three pixels, or two for less scratch */
    mcud_conv_layer_t layer;
} mcud_conv_s8_t;

/*
 * CONV_2D on int8, NHWC, any kernel, stride, padding, dilation and groups, for output rows
 * [row_begin, row_end). `scratch`: 4 bytes a step and pixel of a tile, aligned to 4, and, where
 * kernel rows are not contiguous or patches leave the map by other than fours of bytes, another
 * k_w * in_c / groups bytes.
 */
void mcud_conv_s8(const mcud_conv_s8_t *p, mcud_map in, mcud_map out, int32_t row_begin,
                  int32_t row_end, int8_t *scratch);

#endif
