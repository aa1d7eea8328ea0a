/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_DEPTHWISE_PLAIN_S8_H
#define MCUD_DEPTHWISE_PLAIN_S8_H

#include "depthwise_s8.h"

/*
 * DEPTHWISE_CONV_2D of depthwise_s8.h on a core without DSP instructions, for output rows
 * [row_begin, row_end). `scratch`, aligned to 4: plane_words words, four columns each, for each
 * input row of a strip.
 */
void mcud_depthwise_plain_s8(const mcud_depthwise_s8_t *p, mcud_map in, mcud_map out,
                             int32_t row_begin, int32_t row_end, int8_t *scratch);

#endif
