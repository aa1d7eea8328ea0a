/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies runs of 1 to 3 bytes that lie a constant distance apart: what is left of a transposition,
 * of a slice of channels or of a reversal when few bytes stay together. One run alone, from
 * anywhere, may have up to 8.
 *
 * Made to be inlined with constant arguments: then each run is its loads and stores at constant
 * offsets, two instructions for 1, 2 or 4 bytes, and the loop costs four more for every
 * MCUD_COLUMN_RUNS of them.
 */
#ifndef MCUDEPLOY_COPY_COLUMN_H
#define MCUDEPLOY_COPY_COLUMN_H

#include <stdint.h>
#include <string.h>

#define MCUD_COLUMN_RUNS 16

/* The barrier keeps compilers from joining bytes to words, which takes more instructions. */
#define MCUD_COLUMN_RUN(i, n)                                                                      \
    if ((n) > (i))                                                                                 \
    {                                                                                              \
        memcpy(out + (i) * out_stride, in + (i) * in_stride, (size_t)run);                         \
        __asm__ volatile("" ::: "memory");                                                         \
    }

#define MCUD_COLUMN_PART(n)                                                                        \
    MCUD_COLUMN_RUN(0, n)                                                                          \
    MCUD_COLUMN_RUN(1, n)                                                                          \
    MCUD_COLUMN_RUN(2, n)                                                                          \
    MCUD_COLUMN_RUN(3, n)                                                                          \
    MCUD_COLUMN_RUN(4, n)                                                                          \
    MCUD_COLUMN_RUN(5, n)                                                                          \
    MCUD_COLUMN_RUN(6, n)                                                                          \
    MCUD_COLUMN_RUN(7, n)                                                                          \
    MCUD_COLUMN_RUN(8, n)                                                                          \
    MCUD_COLUMN_RUN(9, n)                                                                          \
    MCUD_COLUMN_RUN(10, n)                                                                         \
    MCUD_COLUMN_RUN(11, n)                                                                         \
    MCUD_COLUMN_RUN(12, n)                                                                         \
    MCUD_COLUMN_RUN(13, n)                                                                         \
    MCUD_COLUMN_RUN(14, n)                                                                         \
    MCUD_COLUMN_RUN(15, n)

/* Copies `count` runs, at least 1; strides in bytes, of any sign. The two must not share bytes. */
static inline __attribute__((always_inline)) void mcud_copy_column(const int8_t *in, int8_t *out,
                                                                   int32_t count,
                                                                   int32_t in_stride,
                                                                   int32_t out_stride, int32_t run)
{
    for (int32_t i = count / MCUD_COLUMN_RUNS; i > 0; i--) {
        MCUD_COLUMN_PART(MCUD_COLUMN_RUNS)
        in += MCUD_COLUMN_RUNS * in_stride;
        out += MCUD_COLUMN_RUNS * out_stride;
    }
    MCUD_COLUMN_PART(count % MCUD_COLUMN_RUNS)
}

#endif
