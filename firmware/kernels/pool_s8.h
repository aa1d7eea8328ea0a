/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_POOL_S8_H
#define MCUD_POOL_S8_H

#include "mcud.h"

typedef struct {
    int16_t in_h, in_w, channels;
    int16_t out_h, out_w;
    int16_t k_h, k_w;
    int16_t stride_h, stride_w;
    int16_t pad_top, pad_left;
    int16_t activation_min, activation_max;
} mcud_pool_s8_t;

/* AVERAGE_POOL_2D on int8, NHWC, output rows [row_begin, row_end); padding is left out. */
void mcud_average_pool_s8(const mcud_pool_s8_t *p, mcud_map in, mcud_map out, int32_t row_begin,
                          int32_t row_end);

/*
 * AVERAGE_POOL_2D over the whole map, called for each row y of the input in turn. `sums` has a
 * word a channel, half a one for maps of at most 255 pixels, and is kept from call to call; `out`
 * is written by the last one.
 */
void mcud_average_pool_row_s8(const mcud_pool_s8_t *p, const int8_t *row, int32_t y, int8_t *sums,
                              int8_t *out);

/* MAX_POOL_2D on int8, NHWC, output rows [row_begin, row_end). */
void mcud_max_pool_s8(const mcud_pool_s8_t *p, mcud_map in, mcud_map out, int32_t row_begin,
                      int32_t row_end);

/* MAX_POOL_2D over the whole map in the same manner; `most` has a byte a channel. */
void mcud_max_pool_row_s8(const mcud_pool_s8_t *p, const int8_t *row, int32_t y, int8_t *most,
                          int8_t *out);

typedef struct {
    int16_t in_h, in_w, channels;
    int16_t in_zero_point, out_zero_point;
    int32_t multiplier; /* the number of elements is folded in */
    int32_t shift;
} mcud_mean_s8_t;

/* MEAN over height and width on int8, NHWC: one output for each channel. */
void mcud_mean_s8(const mcud_mean_s8_t *p, mcud_map in, int8_t *out);

/* The same, called for each row y of the input in turn; `sums` as above. */
void mcud_mean_row_s8(const mcud_mean_s8_t *p, const int8_t *row, int32_t y, int8_t *sums,
                      int8_t *out);

#endif
