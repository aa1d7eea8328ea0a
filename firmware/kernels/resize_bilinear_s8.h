/* SPDX-License-Identifier: Apache-2.0
 *
 * RESIZE_BILINEAR of an NHWC int8 map with batch 1, in integers with 10 fraction bits.
 * Arithmetic: TFLite's ResizeBilinearInteger.
 */
#ifndef MCUDEPLOY_RESIZE_BILINEAR_S8_H
#define MCUDEPLOY_RESIZE_BILINEAR_S8_H

#include "mcud.h"

/*
 * Three words for each output row and column: the two input rows (columns) that it lies between
 * and the second one's share in 1024ths.
 */
typedef struct {
    const int32_t *rows;
    const int32_t *columns;
    int32_t out_w, channels;
} mcud_resize_bilinear_s8_t;

/* Output rows [row_begin, row_end), ascending, no scratch. The maps must not share bytes. */
void mcud_resize_bilinear_s8(const mcud_resize_bilinear_s8_t *p, mcud_map in, mcud_map out,
                             int32_t row_begin, int32_t row_end);

#endif
