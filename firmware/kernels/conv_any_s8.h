/* SPDX-License-Identifier: Apache-2.0
 *
 * CONV_2D and TRANSPOSE_CONV without limits: any groups, dilation, stride, padding, multipliers,
 * on any core. The kernels for the layers that the faster ones do not take.
 */
#ifndef MCUDEPLOY_CONV_ANY_S8_H
#define MCUDEPLOY_CONV_ANY_S8_H

#include "mcud.h"

/*
 * Maps are NHWC int8 with batch 1; weights OHWI with I = in_c / groups (TRANSPOSE_CONV: groups 1),
 * one multiplier and shift an output channel, biases int32 or NULL.
 */
typedef struct {
    const int8_t *weights;
    const int32_t *biases;
    const int32_t *multipliers;
    const int32_t *shifts;
    int32_t in_h, in_w, in_c;
    int32_t out_h, out_w, out_c;
    int32_t k_h, k_w;
    int32_t stride_h, stride_w;
    int32_t dilation_h, dilation_w;
    int32_t pad_top, pad_left;
    int32_t groups;
    int32_t in_zero_point, out_zero_point;
    int32_t activation_min, activation_max;
} mcud_conv_any_s8_t;

/*
 * Output rows [row_begin, row_end) of CONV_2D, ascending, no scratch. A row of the output is written
 * pixel by pixel after the pixel's whole window was read.
 */
void mcud_conv_any_s8(const mcud_conv_any_s8_t *p, mcud_map in, mcud_map out, int32_t row_begin,
                      int32_t row_end);

/*
 * Output rows [row_begin, row_end) of TRANSPOSE_CONV, each output computed at once: of the kernel's
 * taps only those that hit an input pixel. Dilation 1. The two maps must not share bytes.
 */
void mcud_transpose_conv_s8(const mcud_conv_any_s8_t *p, mcud_map in, mcud_map out,
                            int32_t row_begin, int32_t row_end);

#endif
