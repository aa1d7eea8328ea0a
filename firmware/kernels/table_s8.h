/* SPDX-License-Identifier: Apache-2.0
 *
 * Any function from int8 to int8 as a table of 256 bytes.
 */
#ifndef MCUDEPLOY_TABLE_S8_H
#define MCUDEPLOY_TABLE_S8_H

#include <stdint.h>

/*
 * out[i] = table[(uint8_t)in[i]] for 0 <= i < count, any count >= 0.
 *
 * table: 256 bytes, indexed by the input's bits: entry 0 is for 0, entry 128 for -128.
 * Ascending, no scratch: `out` may begin where `in` begins, or anywhere before it. A range of rows
 * is a call with their first byte and their number of bytes. Fastest where both are word-aligned.
 */
void mcud_table_s8(const int8_t *in, int8_t *out, int32_t count, const int8_t *table);

#endif
