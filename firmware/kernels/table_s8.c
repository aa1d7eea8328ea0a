/* SPDX-License-Identifier: Apache-2.0 */
#include "table_s8.h"

#include <string.h>

/* Four look-ups, the table's bytes kept unsigned so that they join without masks. */
static inline uint32_t look_up_4(const uint8_t *table, uint32_t word)
{
    const uint32_t a = table[word & 0xFFu];
    const uint32_t b = table[(word >> 8) & 0xFFu];
    const uint32_t c = table[(word >> 16) & 0xFFu];
    const uint32_t d = table[word >> 24];
    return a | (b << 8) | (c << 16) | (d << 24);
}

void mcud_table_s8(const int8_t *in, int8_t *out, int32_t count, const int8_t *table)
{
    const uint8_t *bytes = (const uint8_t *)table;

    if ((((uintptr_t)in | (uintptr_t)out) & 3u) == 0u) {
        /* A word is read whole before it is written: what an earlier `out` overwrites is read. */
        for (; count >= 4; count -= 4) {
            uint32_t word;
            memcpy(&word, __builtin_assume_aligned(in, 4), 4);
            word = look_up_4(bytes, word);
            memcpy(__builtin_assume_aligned(out, 4), &word, 4);
            in += 4;
            out += 4;
        }
    }
    for (; count > 0; count--) {
        *out++ = (int8_t)bytes[(uint8_t)*in++];
    }
}
