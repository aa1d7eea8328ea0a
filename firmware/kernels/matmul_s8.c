/* SPDX-License-Identifier: Apache-2.0 */
#include "matmul_s8.h"

#include <stddef.h>

#include "fixed_point.h"

void mcud_matmul_s8(const mcud_matmul_s8_t *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    for (int32_t row = 0; row < p->rows; row++) {
        for (int32_t column = 0; column < p->columns; column++) {
            const int8_t *left = a + row * p->a_row_stride;
            const int8_t *right = b + column * p->b_column_stride;
            int32_t sum = p->biases != NULL ? p->biases[column] : 0;

            for (int32_t d = 0; d < p->depth; d++) {
                sum += (*left - p->a_zero_point) * (*right - p->b_zero_point);
                left += p->a_depth_stride;
                right += p->b_depth_stride;
            }
            const int32_t scaled = mcud_multiply(sum, p->multiplier, p->shift);
            *out++ = mcud_clamp_s8(mcud_wrapping_add(scaled, p->out_zero_point), p->activation_min,
                                   p->activation_max);
        }
    }
}
