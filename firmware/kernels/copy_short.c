/* SPDX-License-Identifier: Apache-2.0 */
#include "copy_short.h"

#include "copy_run.h"

/* Runs of (words - 1) * 4 + 1 to words * 4 bytes; `words` is known where this is inlined, or 0. */
static inline __attribute__((always_inline)) void walk(const mcud_box_t *box, const uint8_t *in,
                                                       uint8_t *out, int32_t words)
{
    const int32_t in_stride = box->in_stride[3];
    const int32_t out_stride = box->out_stride[3];
    const int32_t run = box->run;

    for (int32_t c = box->extent[2]; c > 0; c--) {
        const uint8_t *from = in;
        uint8_t *to = out;
        for (int32_t i = box->extent[3]; i > 0; i--) {
            mcud_copy_run(to, from, run, words);
            from += in_stride;
            to += out_stride;
        }
        in += box->in_stride[2];
        out += box->out_stride[2];
    }
}

static void copy_plane(const mcud_box_t *box, const uint8_t *in, uint8_t *out)
{
    switch ((box->run + 3) >> 2) {
    case 1:
        walk(box, in, out, 1);
        break;
    case 2:
        walk(box, in, out, 2);
        break;
    case 3:
        walk(box, in, out, 3);
        break;
    case 4:
        walk(box, in, out, 4);
        break;
    default:
        walk(box, in, out, 0);
    }
}

void mcud_copy_short(const mcud_box_t *box, const void *in, void *out)
{
    for (int32_t a = 0; a < box->extent[0]; a++) {
        for (int32_t b = 0; b < box->extent[1]; b++) {
            copy_plane(box, (const uint8_t *)in + a * box->in_stride[0] + b * box->in_stride[1],
                       (uint8_t *)out + a * box->out_stride[0] + b * box->out_stride[1]);
        }
    }
}
