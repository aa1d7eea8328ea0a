/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_DEPTHWISE_PIXELS_S8_H
#define MCUD_DEPTHWISE_PIXELS_S8_H

#include "mcud.h"

#define MCUD_DEPTHWISE_MOST_ROWS 11

/*
 * A depthwise convolution with multiplier 1. `weights` are k_h * k_w rows of one byte a channel;
 * `constants` are those of depthwise_s8.h, but the starts do not have the input zero point in them.
 */
typedef struct {
    const int8_t *weights;
    const int32_t *constants;
    int16_t in_h, in_w, channels;
    int16_t out_h, out_w;
    int16_t k_h, k_w;
    int16_t stride_h, stride_w;
    int16_t dilation_h, dilation_w;
    int16_t pad_top, pad_left;
    int16_t in_zero_point, out_zero_point;
    int16_t activation_min, activation_max;
    int16_t clamp;
} mcud_depthwise_pixels_s8_t;

/*
 * DEPTHWISE_CONV_2D on int8, NHWC, at least four channels, kernels of up to
 * MCUD_DEPTHWISE_MOST_ROWS rows, any stride, padding and dilation, for output rows
 * [row_begin, row_end). No scratch; pixel after pixel.
 */
void mcud_depthwise_pixels_s8(const mcud_depthwise_pixels_s8_t *p, mcud_map in, mcud_map out,
                              int32_t row_begin, int32_t row_end);

#endif
