/* SPDX-License-Identifier: Apache-2.0 */
#include "strips.h"

static mcud_part part_of(const mcud_columns *c, int32_t from, int32_t end)
{
    const int32_t left = from * c->stride - c->pad;
    const int32_t first = mcud_max(left, 0);
    const int32_t last = mcud_min((end - 1) * c->stride - c->pad + c->reach, c->width);
    return (mcud_part){first, mcud_max(last - first, 0), end - from, first - left};
}

/* How many of the reader's columns the first `made` columns of its input complete. */
static int32_t completed(const mcud_strips *s, int32_t made)
{
    const int32_t room = made + s->reader.pad - s->reader.reach;
    if (made == s->reader.width) {
        return s->out_w;
    }
    return room < 0 ? 0 : mcud_min(s->out_w, room / s->reader.stride + 1);
}

void mcud_strips_make(const mcud_strips *s, int32_t row)
{
    const mcud_part all = part_of(&s->producer, 0, s->reader.width);
    s->make(row, &all, mcud_row(&s->map, row));
}

/*
 * The reader's columns [from, end). `strip` has the newest row's columns from `begin` on. Where that
 * row is padding, it has no place: in a map of fewer rows than the window a kept row has it.
 */
static void read_columns(const mcud_strips *s, int32_t row, int32_t from, int32_t end,
                         int32_t begin)
{
    int8_t *rows[MCUD_STRIPS_MOST_ROWS];
    const int32_t newest = row * s->stride + s->lead;
    const int32_t window = s->map.ring + 1;
    const mcud_part part = part_of(&s->reader, from, end);
    const int32_t above = mcud_min(newest, s->rows);
    for (int32_t y = mcud_max(above - s->map.ring, 0); y < above; y++) {
        rows[y % window] = mcud_row(&s->map, y) + part.in_x * s->pixel_bytes;
    }
    if (newest < s->rows) {
        rows[newest % window] = s->strip + (part.in_x - begin) * s->pixel_bytes;
    }
    s->read(row, &part, rows, from);
}

int mcud_strips_read(const mcud_strips *s, int32_t row)
{
    const int32_t newest = row * s->stride + s->lead;
    const int32_t width = s->reader.width;
    const int fresh = newest < s->rows; /* else padding */
    int8_t *const kept = mcud_row(&s->map, newest);
    int32_t done = 0;  /* of the reader's columns */
    int32_t begin = 0; /* of the strip */
    for (int32_t made = 0; made < width;) {
        const int32_t next = mcud_min(made + s->step, width);
        if (fresh) {
            const mcud_part part = part_of(&s->producer, made, next);
            s->make(newest, &part, s->strip + (made - begin) * s->pixel_bytes);
        }
        made = next;
        const int32_t end = completed(s, made);
        if (end > done) {
            read_columns(s, row, done, end, begin);
            done = end;
        }
        /* Columns that no window covers any more leave the strip. */
        const int32_t behind = mcud_max(done * s->reader.stride - s->reader.pad, begin);
        const int32_t left = made == width ? width : mcud_min(behind, made);
        if (fresh) {
            const int32_t leaving = (left - begin) * s->pixel_bytes;
            memcpy(kept + begin * s->pixel_bytes, s->strip, (size_t)leaving);
            memmove(s->strip, s->strip + leaving, (size_t)((made - left) * s->pixel_bytes));
        }
        begin = left;
    }
    return fresh;
}
