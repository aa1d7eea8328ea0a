/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the taps of a convolution's outputs lie: kernel rows as runs of bytes in the input, and
 * runs that leave the map assembled beside it.
 */
#ifndef MCUD_CONV_GATHER_H
#define MCUD_CONV_GATHER_H

#include "conv_layer.h"

/* Where the taps of an output row lie, and the columns whose patches touch no padding. */
typedef struct {
    const mcud_conv_layer_t *layer;
    mcud_map in;
    int32_t tap_bytes;     /* channels of a group */
    int32_t run_bytes;     /* a kernel row of them */
    int32_t contiguous;    /* the taps of a run are adjacent */
    int32_t first_inside;  /* columns [first_inside, end_inside) read whole runs */
    int32_t end_inside;
    int8_t *runs;          /* run_bytes a pixel of a tile, for patches that touch padding */
} gatherer;

static inline void copy_bytes(int8_t *to, const int8_t *from, int32_t n)
{
    for (; n >= 4; n -= 4, to += 4, from += 4) {
        mcud_store4(to, mcud_load4(from));
    }
    for (; n > 0; n--) {
        *to++ = *from++;
    }
}

/* The run of input row y from column `left` on, the zero point where it leaves the map. */
static void assemble_run(const gatherer *g, int32_t y, int32_t left, int32_t group, int8_t *run)
{
    const mcud_conv_layer_t *const s = g->layer;
    for (int32_t i = 0; i < g->run_bytes; i++) {
        run[i] = (int8_t)s->in_zero_point;
    }
    if (y < 0 || y >= s->in_h) {
        return;
    }
    const int8_t *const row = mcud_row(&g->in, y);
    if (g->contiguous) {
        const int32_t first = mcud_max(left, 0);
        const int32_t end = mcud_min(left + s->k_w, s->in_w);
        copy_bytes(run + (first - left) * s->in_c, row + first * s->in_c, (end - first) * s->in_c);
        return;
    }
    for (int32_t kx = 0; kx < s->k_w; kx++) {
        const int32_t column = left + kx * s->dilation_w;
        if (column >= 0 && column < s->in_w) {
            copy_bytes(run + kx * g->tap_bytes, row + column * s->in_c + group * g->tap_bytes,
                       g->tap_bytes);
        }
    }
}

static inline gatherer gatherer_of(const mcud_conv_layer_t *s, mcud_map in, int8_t *runs)
{
    gatherer g = {.layer = s, .in = in, .runs = runs};
    g.tap_bytes = s->groups == 1 ? s->in_c : s->in_c / s->groups;
    g.run_bytes = s->k_w * g.tap_bytes;
    g.contiguous = s->groups == 1 && (s->dilation_w == 1 || s->k_w == 1);
    if (g.contiguous) {
        g.first_inside = s->pad_left;
        g.end_inside = s->in_w + s->pad_left - s->k_w + s->stride_w;
        if (s->stride_w > 1) {
            g.first_inside = (g.first_inside + s->stride_w - 1) / s->stride_w;
            g.end_inside = g.end_inside < 0 ? 0 : g.end_inside / s->stride_w;
        }
        g.end_inside = mcud_min(g.end_inside, s->out_w);
    }
    return g;
}

/* So many rows of a map of h rows of row_bytes follow each other. */
static inline int32_t rows_follow(const mcud_map *map, int32_t rows, int32_t h, int32_t row_bytes)
{
    return rows == 1 || (map->ring >= h && map->row_bytes == row_bytes);
}

/* A 1x1 convolution whose pixels in so many rows follow each other in both maps. */
static inline int32_t is_run_of_pixels(const mcud_conv_layer_t *s, const mcud_map *in, int32_t rows)
{
    return s->k_h == 1 && s->k_w == 1 && s->stride_h == 1 && s->stride_w == 1
           && rows_follow(in, rows, s->in_h, s->in_w * s->in_c)
           && s->pad_top == 0 && s->pad_left == 0 && s->in_w == s->out_w;
}

#endif
