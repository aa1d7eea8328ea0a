/* SPDX-License-Identifier: Apache-2.0 */
#include "resize_bilinear_s8.h"

#define ONE 1024

/* x / 2^20, rounded half away from zero. */
static int8_t rounded(int32_t x)
{
    const int32_t half = x > 0 ? 1 << 19 : -(1 << 19);

    return (int8_t)((x + half) / (1 << 20));
}

void mcud_resize_bilinear_s8(const mcud_resize_bilinear_s8_t *p, mcud_map in, mcud_map out,
                             int32_t row_begin, int32_t row_end)
{
    for (int32_t y = row_begin; y < row_end; y++) {
        const int32_t *row = p->rows + 3 * y;
        const int8_t *upper = mcud_row(&in, row[0]);
        const int8_t *lower = mcud_row(&in, row[1]);
        int8_t *to = mcud_row(&out, y);

        for (int32_t x = 0; x < p->out_w; x++) {
            const int32_t *column = p->columns + 3 * x;
            const int32_t left = column[0] * p->channels;
            const int32_t right = column[1] * p->channels;
            const int32_t share = column[2];

            for (int32_t c = 0; c < p->channels; c++) {
                const int32_t above = upper[left + c] * (ONE - share) + upper[right + c] * share;
                const int32_t below = lower[left + c] * (ONE - share) + lower[right + c] * share;
                *to++ = rounded(above * (ONE - row[2]) + below * row[2]);
            }
        }
    }
}
