/* SPDX-License-Identifier: Apache-2.0 */
#include "gather.h"

#include "copy_run.h"

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

/* Runs that memcpy copies; one of 2 or 3 bytes is known where this is inlined. */
static inline __attribute__((always_inline)) void walk_memcpy(const uint8_t *in, uint8_t *out,
                                                              const int32_t *offsets, int32_t count,
                                                              int32_t run)
{
    for (; count > 0; count--) {
        memcpy(out, in + *offsets++, (size_t)run);
        out += run;
    }
}

/* Runs of at least 4 bytes; `words` as mcud_copy_run has it. */
static inline __attribute__((always_inline)) void walk_words(const uint8_t *in, uint8_t *out,
                                                             const int32_t *offsets, int32_t count,
                                                             int32_t run, int32_t words)
{
    for (; count > 0; count--) {
        mcud_copy_run(out, in + *offsets++, run, words);
        out += run;
    }
}

static void gather(const uint8_t *in, uint8_t *out, const int32_t *offsets, int32_t count,
                   int32_t run)
{
    if (run == 1) {
        gather_bytes(in, out, offsets, count);
    } else if (run > LONGEST_SHORT) {
        walk_memcpy(in, out, offsets, count, run);
    } else if (run == 2) {
        walk_memcpy(in, out, offsets, count, 2);
    } else if (run == 3) {
        walk_memcpy(in, out, offsets, count, 3);
    } else if (run == 4) {
        walk_words(in, out, offsets, count, 4, 1);
    } else if (run <= 8) {
        walk_words(in, out, offsets, count, run, 2);
    } else if (run <= 12) {
        walk_words(in, out, offsets, count, run, 3);
    } else if (run <= 16) {
        walk_words(in, out, offsets, count, run, 4);
    } else {
        walk_words(in, out, offsets, count, run, 0);
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
