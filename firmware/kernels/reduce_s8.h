/* SPDX-License-Identifier: Apache-2.0
 *
 * Reductions of int8 over any axes: SUM and MEAN, REDUCE_MAX, REDUCE_MIN, ARG_MAX, ARG_MIN.
 *
 * Axes that are kept and axes that are reduced are merged among neighbours, which leaves at most
 * three of each. No scratch. Outputs are written in ascending order; output k reads nothing below
 * its input's byte k, so an int8 output may begin where its input begins.
 */
#ifndef MCUDEPLOY_REDUCE_S8_H
#define MCUDEPLOY_REDUCE_S8_H

#include <stdint.h>

#define MCUD_REDUCE_DIMS 3

/* Extents and strides in elements, outermost first; extents of 1 fill up. */
typedef struct {
    int32_t kept[MCUD_REDUCE_DIMS];
    int32_t kept_stride[MCUD_REDUCE_DIMS];
    int32_t reduced[MCUD_REDUCE_DIMS];
    int32_t reduced_stride[MCUD_REDUCE_DIMS];
} mcud_reduce_t;

/*
 * (sum of (in - zero point)) * multiplier * 2^(shift - 31) + out_zero_point, TFLite's
 * QuantizedMeanOrSum; MEAN has the number of elements folded into multiplier and shift.
 * `in_offset` is the zero point times that number.
 */
typedef struct {
    int32_t in_offset;
    int32_t out_zero_point;
    int32_t multiplier;
    int32_t shift;
} mcud_reduce_sum_s8_t;

void mcud_reduce_sum_s8(const mcud_reduce_t *walk, const mcud_reduce_sum_s8_t *q, const int8_t *in,
                        int8_t *out);
void mcud_reduce_max_s8(const mcud_reduce_t *walk, const int8_t *in, int8_t *out);
void mcud_reduce_min_s8(const mcud_reduce_t *walk, const int8_t *in, int8_t *out);

/* The index along the one reduced axis, reduced[2], of the first greatest (least) element. */
void mcud_arg_max_s8(const mcud_reduce_t *walk, const int8_t *in, int32_t *out);
void mcud_arg_min_s8(const mcud_reduce_t *walk, const int8_t *in, int32_t *out);

#endif
