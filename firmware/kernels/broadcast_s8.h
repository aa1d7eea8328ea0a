/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators of two int8 tensors, each with its own scale, one broadcast over the other as NumPy
 * does it: ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, SQUARED_DIFFERENCE, PRELU.
 *
 * Arithmetic: TFLite's reference kernels with double rounding. No scratch. Elements are written in
 * ascending order, each after its operands were read: the output may begin where an operand of the
 * output's shape begins, or before it.
 */
#ifndef MCUDEPLOY_BROADCAST_S8_H
#define MCUDEPLOY_BROADCAST_S8_H

#include <stdint.h>

#define MCUD_BROADCAST_DIMS 5

/* Extents of the output, outermost first; strides in elements, 0 along a broadcast dimension. */
typedef struct {
    int32_t extent[MCUD_BROADCAST_DIMS];
    int32_t a_stride[MCUD_BROADCAST_DIMS];
    int32_t b_stride[MCUD_BROADCAST_DIMS];
} mcud_broadcast_t;

/*
 * A real multiplier is multiplier * 2^(shift - 31). ADD, SUB and SQUARED_DIFFERENCE rescale both
 * centred operands, shifted left by left_shift, and then the result; MUL and DIV the result alone;
 * PRELU (b is alpha) multiplies by a's multiplier where a >= 0, else the product by b's.
 * MAXIMUM and MINIMUM compare stored values and use none of it.
 */
typedef struct {
    int32_t a_zero_point, a_multiplier, a_shift;
    int32_t b_zero_point, b_multiplier, b_shift;
    int32_t out_zero_point, out_multiplier, out_shift;
    int32_t left_shift;
    int32_t activation_min, activation_max;
} mcud_binary_s8_t;

void mcud_broadcast_add_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                 const int8_t *b, int8_t *out);
void mcud_broadcast_sub_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                 const int8_t *b, int8_t *out);
void mcud_broadcast_mul_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                 const int8_t *b, int8_t *out);
/* A divisor of zero gives the greatest or the least output by the sign of a. */
void mcud_broadcast_div_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                 const int8_t *b, int8_t *out);
void mcud_broadcast_maximum_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                     const int8_t *b, int8_t *out);
void mcud_broadcast_minimum_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                     const int8_t *b, int8_t *out);
void mcud_broadcast_squared_difference_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q,
                                const int8_t *a, const int8_t *b, int8_t *out);
void mcud_broadcast_prelu_s8(const mcud_broadcast_t *walk, const mcud_binary_s8_t *q, const int8_t *a,
                   const int8_t *b, int8_t *out);

#endif
