/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_DEPTHWISE_S8_H
#define MCUD_DEPTHWISE_S8_H

#include "mcud.h"

/*
 * A depthwise convolution of out_c = in_c * multiplier channels. For each output channel `weights`
 * has k_h * k_w bytes in row order, and `constants` three words: start of the sum (bias and input
 * zero point folded in), multiplier, addend, as explained in conv_s8.c, with shift 2; bit 8 of the
 * addend says exact: then they are start, 2m - 2^32, exponent.
 */
typedef struct {
    const int8_t *weights;
    const int32_t *constants;
    int16_t in_h, in_w, in_c;
    int16_t out_h, out_w, multiplier;
    int16_t k_h, k_w;
    int16_t stride_h, stride_w;
    int16_t dilation_h;
    int16_t pad_top, pad_left;
    int16_t strip_rows;    /* output rows whose input is gathered at a time */
    int16_t plane_words;   /* words of a gathered row, even columns and odd */
    int16_t in_zero_point, out_zero_point;
    int16_t activation_min, activation_max;
    int16_t clamp;
} mcud_depthwise_s8_t;

/*
 * DEPTHWISE_CONV_2D on int8, NHWC, at least two input channels, any kernel, stride, padding and
 * multiplier, dilation in height, for output rows [row_begin, row_end). `scratch`, aligned to 4:
 * two planes of plane_words words for each input row of a strip, and for kernels other than 3x3
 * the weights in pairs: k_h * 2 * (k_w / 2 + 1) words with stride 1, else k_h * ((k_w + 1) / 2).
 */
void mcud_depthwise_s8(const mcud_depthwise_s8_t *p, mcud_map in, mcud_map out, int32_t row_begin,
                       int32_t row_end, int8_t *scratch);

/*
 * The same for all rows of a layer of stride 1 and multiplier 1 whose map keeps its size, in place:
 * `map` is input, then output. The same scratch; strip_rows may be anything from 1 to out_h.
 */
void mcud_depthwise_in_place_s8(const mcud_depthwise_s8_t *p, int8_t *map, int8_t *scratch);

#endif
