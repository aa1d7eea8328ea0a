/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_CONV_LAYER_H
#define MCUD_CONV_LAYER_H

#include "mcud.h"

/*
 * A convolution but for its weights: NHWC int8 maps, any kernel, stride, dilation, padding and
 * groups. The activation range is applied afterwards where `clamp` is set; else saturation to int8
 * does it.
 */
typedef struct {
    int16_t in_h, in_w, in_c;
    int16_t out_h, out_w, out_c;
    int16_t k_h, k_w;
    int16_t stride_h, stride_w;
    int16_t dilation_h, dilation_w;
    int16_t pad_top, pad_left;
    int16_t groups;
    int16_t in_zero_point, out_zero_point;
    int16_t activation_min, activation_max;
    int16_t clamp;
} mcud_conv_layer_t;

#endif
