/* SPDX-License-Identifier: Apache-2.0
 *
 * LOG_SOFTMAX over the last axis, int8 to int8 with scale 1/16 and zero point 127.
 * Arithmetic: TFLite's integer kernel (exponentials in Q5.26, their sum in Q12.19, its logarithm
 * in Q5.26). The exponentials of the 256 possible differences are a table.
 */
#ifndef MCUDEPLOY_LOG_SOFTMAX_S8_H
#define MCUDEPLOY_LOG_SOFTMAX_S8_H

#include <stdint.h>

typedef struct {
    const int32_t *exponentials; /* Q12.19, of the difference 0, -1, ..., -255; 0 where ignored */
    int32_t rows, depth;
    int32_t multiplier, shift; /* a difference to Q5.26 */
    int32_t reverse_multiplier, reverse_shift;
    int32_t diff_min;
} mcud_log_softmax_s8_t;

/* No scratch; rows ascending, each read whole before it is written: `out` may begin at `in`. */
void mcud_log_softmax_s8(const mcud_log_softmax_s8_t *p, const int8_t *in, int8_t *out);

#endif
