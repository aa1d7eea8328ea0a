/* SPDX-License-Identifier: Apache-2.0 */
#include "gather.h"

#include <string.h>

#define CHUNK 16

/* Where words are loaded from any address, short runs are copied without a call. */
#if defined(__arm__) && !defined(__ARM_FEATURE_UNALIGNED)
#define LONGEST_SHORT 1
#else
#define LONGEST_SHORT 23
#endif

#if defined(__ARM_FEATURE_DSP) && defined(__thumb__)

/* Four bytes at four offsets; returns the offsets after. */
static inline const int32_t *gather_4(const uint8_t *in, uint8_t *out, const int32_t *offsets)
{
    __asm__ volatile("ldmia %0!, {r4, r5, r6, r7}\n"
                     "ldrb r4, [%1, r4]\n"
                     "ldrb r5, [%1, r5]\n"
                     "ldrb r6, [%1, r6]\n"
                     "ldrb r7, [%1, r7]\n"
                     "strb r4, [%2]\n"
                     "strb r5, [%2, #1]\n"
                     "strb r6, [%2, #2]\n"
                     "strb r7, [%2, #3]\n"
                     : "+r"(offsets)
                     : "r"(in), "r"(out)
                     : "r4", "r5", "r6", "r7", "memory");
    return offsets;
}

#else

static inline const int32_t *gather_4(const uint8_t *in, uint8_t *out, const int32_t *offsets)
{
    out[0] = in[offsets[0]];
    out[1] = in[offsets[1]];
    out[2] = in[offsets[2]];
    out[3] = in[offsets[3]];
    return offsets + 4;
}

#endif

static void gather_bytes(const uint8_t *in, uint8_t *out, const int32_t *offsets, int32_t count)
{
    for (; count >= 8; count -= 8) {
        offsets = gather_4(in, out, offsets);
        offsets = gather_4(in, out + 4, offsets);
        out += 8;
    }
    for (; count > 0; count--) {
        *out++ = in[*offsets++];
    }
}

/* `kind` is known where this is inlined: a run's bytes up to 4, then its words times 4; 0 for any
 * run of at least 4 bytes, -1 for one that memcpy copies. */
static inline __attribute__((always_inline)) void walk(const uint8_t *in, uint8_t *out,
                                                       const int32_t *offsets, int32_t count,
                                                       int32_t run, int32_t kind)
{
    for (; count > 0; count--) {
        const uint8_t *from = in + *offsets++;
        if (kind < 0) {
            memcpy(out, from, (size_t)run);
        } else if (kind > 0 && kind <= 4) {
            memcpy(out, from, (size_t)kind);
        } else {
            for (int32_t i = 0; i < (kind > 0 ? kind : run) - 4; i += 4) {
                memcpy(out + i, from + i, 4);
            }
            /* It overlaps the word before it where the run is no multiple of four. */
            memcpy(out + run - 4, from + run - 4, 4);
        }
        out += run;
    }
}

static void gather(const uint8_t *in, uint8_t *out, const int32_t *offsets, int32_t count,
                   int32_t run)
{
    if (run == 1) {
        gather_bytes(in, out, offsets, count);
    } else if (run > LONGEST_SHORT) {
        walk(in, out, offsets, count, run, -1);
    } else if (run == 2) {
        walk(in, out, offsets, count, 2, 2);
    } else if (run == 3) {
        walk(in, out, offsets, count, 3, 3);
    } else if (run == 4) {
        walk(in, out, offsets, count, 4, 4);
    } else if (run <= 8) {
        walk(in, out, offsets, count, run, 8);
    } else if (run <= 12) {
        walk(in, out, offsets, count, run, 12);
    } else if (run <= 16) {
        walk(in, out, offsets, count, run, 16);
    } else {
        walk(in, out, offsets, count, run, 0);
    }
}

void mcud_gather_runs(const int8_t *in, int8_t *out, const int32_t *offsets, int32_t count,
                      int32_t run)
{
    gather((const uint8_t *)in, (uint8_t *)out, offsets, count, run);
}

void mcud_gather_indices(const int8_t *in, int8_t *out, const int32_t *indices, int32_t count,
                         int32_t run, int32_t size)
{
    int32_t offsets[CHUNK];

    while (count > 0) {
        const int32_t part = count < CHUNK ? count : CHUNK;
        for (int32_t i = 0; i < part; i++) {
            const int32_t index = indices[i] < 0 ? 0 : (indices[i] < size ? indices[i] : size - 1);
            offsets[i] = index * run;
        }
        gather((const uint8_t *)in, (uint8_t *)out, offsets, part, run);
        indices += part;
        out += part * run;
        count -= part;
    }
}
