/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Row-streamed execution: when an operator can compute its next row.
 *
 * The operators of a segment are stages, numbered in order. `made` counts the rows that each has
 * computed, made[stage + 1], and the rows of the segment's input that have come, made[0]. Whenever
 * a row has come, the latest stage that can go on does so, until none can: every row is consumed
 * as soon as it can be, and the buffers between stages keep no more rows than a window needs.
 * After a stage has run, only stages that read it can have become able to: the search for the next
 * one starts at the last of them and goes downwards.
 */
#ifndef MCUD_STREAM_H
#define MCUD_STREAM_H

#include "mcud.h"

/* The rows that a stage reads: for its row r, those before r * stride / up + reach, `rows` at most. */
typedef struct {
    int16_t source; /* whose rows: index into `made` */
    int16_t stride;
    int16_t reach;
    int16_t rows;
    int16_t up;
} mcud_need;

typedef struct {
    int16_t rows;      /* how often the stage runs */
    int16_t next;      /* the last stage that reads its rows, itself if there is none */
    int16_t first, end; /* its needs */
} mcud_stage;

/* Whether a stage can compute its next row. */
static inline int mcud_row_ready(const mcud_stage *stage, const mcud_need *needs,
                                 const int16_t *made, int32_t row)
{
    if (row >= stage->rows) {
        return 0;
    }
    for (int32_t i = stage->first; i < stage->end; i++) {
        const mcud_need *const need = &needs[i];
        if (made[need->source] < mcud_min(need->rows, row * need->stride / need->up + need->reach)) {
            return 0;
        }
    }
    return 1;
}

#endif
