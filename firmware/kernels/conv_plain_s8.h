/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_CONV_PLAIN_S8_H
#define MCUD_CONV_PLAIN_S8_H

#include "conv_layer.h"

/*
 * A convolution on a core without DSP instructions. `weights` are OHWI with I = in_c / groups;
 * `constants` three words a channel as in depthwise_s8.h: start of the sum (bias and input zero
 * point folded in), multiplier, addend. Bits 9 to 11 of the addend are no part of the number: they
 * tell how many taps less one add up in halfwords (see conv_plain_s8.c). `rests` are the taps of a
 * channel modulo 1, 2, ..., 8.
 */
typedef struct {
    const int8_t *weights;
    const int32_t *constants;
    uint8_t rests[8];
    mcud_conv_layer_t layer;
} mcud_conv_plain_s8_t;

/*
 * CONV_2D on int8, NHWC, any kernel, stride, padding, dilation and groups, for output rows
 * [row_begin, row_end). `scratch`, aligned to 4: 8 bytes a tap of an output channel, and, unless
 * every patch lies inside the map without dilation and groups, another 4 * k_w * in_c / groups.
 */
void mcud_conv_plain_s8(const mcud_conv_plain_s8_t *p, mcud_map in, mcud_map out,
                        int32_t row_begin, int32_t row_end, int8_t *scratch);

#endif
