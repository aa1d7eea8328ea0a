/* SPDX-License-Identifier: Apache-2.0 */
#include "copy_box.h"

#include <string.h>

/* Runs of one byte are moved without a call: a transposition consists of nothing else. */
static void copy_runs(const mcud_box_t *box, const uint8_t *in, uint8_t *out)
{
    const int32_t run = box->run;
    const int32_t in_stride = box->in_stride[3];
    const int32_t out_stride = box->out_stride[3];

    if (run == 1) {
        for (int32_t i = box->extent[3]; i > 0; i--) {
            *out = *in;
            in += in_stride;
            out += out_stride;
        }
        return;
    }
    for (int32_t i = box->extent[3]; i > 0; i--) {
        memcpy(out, in, (size_t)run);
        in += in_stride;
        out += out_stride;
    }
}

void mcud_copy_box(const mcud_box_t *box, const void *in, void *out)
{
    for (int32_t a = 0; a < box->extent[0]; a++) {
        for (int32_t b = 0; b < box->extent[1]; b++) {
            const int32_t in_base = a * box->in_stride[0] + b * box->in_stride[1];
            const int32_t out_base = a * box->out_stride[0] + b * box->out_stride[1];
            for (int32_t c = 0; c < box->extent[2]; c++) {
                copy_runs(box, (const uint8_t *)in + in_base + c * box->in_stride[2],
                          (uint8_t *)out + out_base + c * box->out_stride[2]);
            }
        }
    }
}
