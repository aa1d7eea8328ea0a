/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUD_ADD_S8_H
#define MCUD_ADD_S8_H

#include "mcud.h"

/*
 * ADD and SUB of two maps of the same shape:
 *     out = saturate8((factor1 * in1 + factor2 * in2 + addend) >> 21)
 * with factors of 2^29 to 1, each product floored to 2^-21 (see add_s8.c). `exact` in
 * mcudeploy/operators/kernels/elementwise.py finds the three numbers.
 */
typedef struct {
    int32_t factor1;
    int32_t factor2;
    int32_t addend;
    int16_t activation_min, activation_max;
    int16_t clamp;
} mcud_add_s8_t;

/* ADD on int8. Each output is written after the inputs at its place and before were read. */
void mcud_add_s8(const mcud_add_s8_t *p, const int8_t *in1, const int8_t *in2, int8_t *out,
                 int32_t count);

#endif
