/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pairs in row-streamed execution: an operator whose window covers k rows, and the one that makes
 * them.
 *
 * k - 1 rows are kept. For its next row the reader needs one more, the newest, and after that the
 * oldest one never again. So the newest is made within the reader's turn, a strip of columns at a
 * time: the reader computes what the strip completes, and the columns that are behind it take the
 * place of the oldest row's. The strip moves on over the columns that the next window still covers.
 *
 *     oldest   [ newest so far )( needed ...            ]   one place of a row for both
 *     others   [ ...                                    ]
 *     newest                    [ strip ]
 */
#ifndef MCUD_STRIPS_H
#define MCUD_STRIPS_H

#include "mcud.h"

#define MCUD_STRIPS_MOST_ROWS 12 /* of a window */

/* Part of an output row, and what of the input's rows it reads; all in columns. */
typedef struct {
    int32_t in_x;     /* first of the input */
    int32_t in_w;
    int32_t out_w;
    int32_t pad_left; /* padding before the first of the input */
} mcud_part;

/* For output column x, the input's columns from x * stride - pad on, `reach` of them. */
typedef struct {
    int32_t width; /* of the input */
    int32_t stride;
    int32_t pad;
    int32_t reach;
} mcud_columns;

typedef struct {
    /* Columns of a row of the map between the two, written from `to` on. */
    void (*make)(int32_t row, const mcud_part *part, int8_t *to);
    /*
     * Columns of the reader's row from `column` on. Row y of its input lies at rows[y mod reach],
     * from the part's first column on.
     */
    void (*read)(int32_t row, const mcud_part *part, int8_t *const *rows, int32_t column);
    mcud_columns producer;
    mcud_columns reader;
    mcud_map map; /* the rows that are kept */
    int8_t *strip;
    int32_t pixel_bytes;
    int32_t rows;   /* of the map */
    int32_t out_w;  /* of the reader */
    int32_t stride; /* the newest row for row r is r * stride + lead */
    int32_t lead;
    int32_t step;   /* columns of a strip */
} mcud_strips;

/* Makes a row by itself, for the rows that are kept. */
void mcud_strips_make(const mcud_strips *s, int32_t row);

/* The reader's row, with the newest row of its input; 0 where that is below the map, else 1. */
int mcud_strips_read(const mcud_strips *s, int32_t row);

#endif
