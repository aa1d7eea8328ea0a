/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_DEPTHWISE_ROWS_S8_H
#define MCUD_DEPTHWISE_ROWS_S8_H

#include "mcud.h"

#define MCUD_DEPTHWISE_BLOCK 12 /* words: two columns of four channels */

/*
 * A depthwise 3x3 convolution of as many output channels as input channels. For each channel
 * `weights` has nine bytes, row and column 00 01 10 11 02 20 12 21 22, and `constants` three words
 * as explained in depthwise_s8.h.
 */
typedef struct {
    const int8_t *weights;
    const int32_t *constants;
    int16_t in_h, in_w, channels;
    int16_t out_h, out_w;
    int16_t stride_h, stride_w;
    int16_t dilation_h;
    int16_t pad_top, pad_left;
    int16_t columns;       /* output columns at a time: an even number, or out_w */
    int16_t in_zero_point, out_zero_point;
    int16_t activation_min, activation_max;
    int16_t clamp;
} mcud_depthwise_rows_s8_t;

/*
 * DEPTHWISE_CONV_2D on int8, NHWC, at least four channels, kernel 3x3, strides 1 and 2 in width,
 * any in height, any padding by which each output row reads a row of the map, dilation in height,
 * for output rows [row_begin, row_end). `scratch`, aligned to 4: for `columns` outputs, in pairs,
 * stride_w blocks a pair and one more.
 */
void mcud_depthwise_rows_s8(const mcud_depthwise_rows_s8_t *p, mcud_map in, mcud_map out,
                            int32_t row_begin, int32_t row_end, int8_t *scratch);

#endif
