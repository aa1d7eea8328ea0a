/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUDEPLOY_COPY_RUN_H
#define MCUDEPLOY_COPY_RUN_H

#include <stdint.h>
#include <string.h>

/*
 * Copies a run of at least 4 bytes by words. `words` is (run + 3) / 4 where that is known when this
 * is inlined, and 0 elsewhere. The last word overlaps the one before it where the run is no
 * multiple of four.
 */
static inline __attribute__((always_inline)) void mcud_copy_run(uint8_t *to, const uint8_t *from,
                                                                int32_t run, int32_t words)
{
    const int32_t last = run - 4;

    for (int32_t at = 0; at < (words > 0 ? 4 * (words - 1) : last); at += 4) {
        memcpy(to + at, from + at, 4);
    }
    memcpy(to + last, from + last, 4);
}

#endif
