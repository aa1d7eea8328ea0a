/* SPDX-License-Identifier: Apache-2.0
 *
 * The product of two int8 matrices, either of them stored by rows or by columns: BATCH_MATMUL, and
 * FULLY_CONNECTED with weights that are computed or have a zero point.
 * Arithmetic: TFLite's integer reference with double rounding.
 */
#ifndef MCUDEPLOY_MATMUL_S8_H
#define MCUDEPLOY_MATMUL_S8_H

#include <stdint.h>

/*
 * out[r][c] = sum over d of (a[r][d] - a zero point) * (b[d][c] - b zero point), and biases[c]
 * unless NULL, times multiplier * 2^(shift - 31). Strides are in elements; the output is dense.
 */
typedef struct {
    const int32_t *biases;
    int32_t rows, columns, depth;
    int32_t a_row_stride, a_depth_stride;
    int32_t b_column_stride, b_depth_stride;
    int32_t a_zero_point, b_zero_point, out_zero_point;
    int32_t multiplier, shift;
    int32_t activation_min, activation_max;
} mcud_matmul_s8_t;

/* No scratch; `out` must not share bytes with `a` or `b`. */
void mcud_matmul_s8(const mcud_matmul_s8_t *p, const int8_t *a, const int8_t *b, int8_t *out);

#endif
