/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SOFTMAX over the last axis, int8 to int8 with scale 1/256 and zero point -128.
 *
 * Arithmetic: TFLite's integer kernel (exponentials in Q0.31, their sum in Q12.19, its reciprocal
 * by Newton's method). There are 256 differences d from a row's greatest value at most, so their
 * exponentials are tables, which end where they no longer count: that of 16 * (d / 16) times that
 * of d % 16, plus what the exact one is beyond the product.
 */
#ifndef MCUD_SOFTMAX_S8_H
#define MCUD_SOFTMAX_S8_H

#include <stdint.h>

typedef struct {
    const int32_t *coarse; /* Q0.31, of every sixteenth difference */
    const int32_t *fine;   /* Q0.31, of 0 to 15 */
    const int16_t *beyond; /* Q0.31, of every difference */
    int32_t entries;       /* from there on exponentials are 0; 1 to 256 */
    int32_t rows, depth;   /* depth up to 256 */
} mcud_softmax_s8_t;

/* No scratch; rows ascending, each read whole before it is written: `out` may begin at `in`. */
void mcud_softmax_s8(const mcud_softmax_s8_t *p, const int8_t *in, int8_t *out);

#endif
