/* SPDX-License-Identifier: Apache-2.0 */
#include "gather.h"

#include <string.h>

void mcud_gather_runs(const int8_t *in, int8_t *out, const int32_t *offsets, int32_t count,
                      int32_t run)
{
    for (int32_t i = 0; i < count; i++) {
        if (run == 1) {
            *out = in[offsets[i]];
        } else {
            memcpy(out, in + offsets[i], (size_t)run);
        }
        out += run;
    }
}

void mcud_gather_indices(const int8_t *in, int8_t *out, const int32_t *indices, int32_t count,
                         int32_t run, int32_t size)
{
    for (int32_t i = 0; i < count; i++) {
        const int32_t index = indices[i] < 0 ? 0 : (indices[i] < size ? indices[i] : size - 1);
        memcpy(out, in + index * run, (size_t)run);
        out += run;
    }
}
