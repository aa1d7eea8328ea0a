/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies of runs of bytes from places that a table or a tensor names: GATHER (an embedding is one)
 * and RESIZE_NEAREST_NEIGHBOR.
 */
#ifndef MCUDEPLOY_GATHER_H
#define MCUDEPLOY_GATHER_H

#include <stdint.h>

/* Copies `count` runs of `run` bytes from in + offsets[i] to `out`, one after the other. */
void mcud_gather_runs(const int8_t *in, int8_t *out, const int32_t *offsets, int32_t count,
                      int32_t run);

/*
 * The same with computed indices: run i comes from in + indices[i] * run. Indices outside
 * [0, size) are taken as the nearest inside, so that no byte beyond the table is read.
 */
void mcud_gather_indices(const int8_t *in, int8_t *out, const int32_t *indices, int32_t count,
                         int32_t run, int32_t size);

#endif
