/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies a box of up to four strided dimensions whose innermost part is a run of bytes:
 * the data movement of PAD, CONCATENATION, SLICE, SPLIT, TRANSPOSE and their relatives.
 */
#ifndef MCUDEPLOY_COPY_BOX_H
#define MCUDEPLOY_COPY_BOX_H

#include <stdint.h>

typedef struct {
    int32_t extent[4];     /* how many runs, outermost first; at least 1 each */
    int32_t in_stride[4];  /* bytes from one run to the next, may be negative */
    int32_t out_stride[4]; /* bytes, may be negative */
    int32_t run;           /* bytes of a run, at least 1 */
} mcud_box_t;

/* Copies the box from `in` to `out` (addresses of its first run). The two must not share bytes. */
void mcud_copy_box(const mcud_box_t *box, const void *in, void *out);

#endif
