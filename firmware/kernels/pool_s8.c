/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pooling and the mean over space, four channels at a time: sums in pairs of int16 (SXTAB16), of
 * at most 255 inputs before they are widened; maxima of four bytes at once (SSUB8, SEL).
 */
#include "pool_s8.h"

#define MOST_TAPS 255 /* 255 * 128 < 2^15 */

/* The part of the map under a window. */
typedef struct {
    int32_t top, bottom, left, right;
} window;

static window window_at(const mcud_pool_s8_t *p, int32_t y, int32_t x)
{
    const int32_t top = y * p->stride_h - p->pad_top;
    const int32_t left = x * p->stride_w - p->pad_left;
    return (window){mcud_max(top, 0), mcud_min(top + p->k_h, p->in_h), mcud_max(left, 0),
                    mcud_min(left + p->k_w, p->in_w)};
}

/* Where the four channels from c on begin; the last four overlap the ones before. -1: none left. */
static inline int32_t first_of_four(int32_t c, int32_t channels)
{
    return c >= channels || channels < 4 ? -1 : mcud_min(c, channels - 4);
}

/* The greater of each of four int8. */
static inline uint32_t greater_bytes(uint32_t a, uint32_t b)
{
#if MCUD_DSP
    uint32_t result;
    __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(result) : "r"(a), "r"(b) : "cc");
    return result;
#else
    uint32_t result = 0;
    for (int32_t shift = 0; shift < 32; shift += 8) {
        const int32_t most = mcud_max((int8_t)(a >> shift), (int8_t)(b >> shift));
        result |= ((uint32_t)most & 0xFF) << shift;
    }
    return result;
#endif
}

/* Sums of four channels in int16: even ones and odd ones. */
typedef struct {
    uint32_t even, odd;
} pair_sums;

/* Adds `taps` pixels from `from` on. */
static inline void add_taps(const int8_t *from, int32_t step, int32_t taps, pair_sums *sums)
{
    uint32_t even = sums->even;
    uint32_t odd = sums->odd;
    if (taps & 1) {
        even = mcud_add_bytes02(even, mcud_load4(from));
        odd = mcud_add_bytes13(odd, mcud_load4(from));
        from += step;
    }
    for (int32_t pairs = taps >> 1; pairs > 0; pairs--, from += 2 * step) {
        const uint32_t first = mcud_load4(from);
        const uint32_t second = mcud_load4(from + step);
        even = mcud_add_bytes02(mcud_add_bytes02(even, first), second);
        odd = mcud_add_bytes13(mcud_add_bytes13(odd, first), second);
    }
    *sums = (pair_sums){even, odd};
}

/* Adds the int16 sums to int32 ones. */
static inline void widen(pair_sums from, int32_t sums[4])
{
    sums[0] += (int16_t)from.even;
    sums[1] += (int16_t)from.odd;
    sums[2] += (int16_t)(from.even >> 16);
    sums[3] += (int16_t)(from.odd >> 16);
}

/* Sums of four channels from channel c over a window of any size. */
static void sum_many(const mcud_map *in, int32_t channels, window w, int32_t c, int32_t sums[4])
{
    sums[0] = sums[1] = sums[2] = sums[3] = 0;
    for (int32_t y = w.top; y < w.bottom; y++) {
        const int8_t *from = mcud_row(in, y) + w.left * channels + c;
        for (int32_t left = w.right - w.left; left > 0; left -= MOST_TAPS) {
            pair_sums some = {0, 0};
            add_taps(from, channels, mcud_min(left, MOST_TAPS), &some);
            widen(some, sums);
            from += MOST_TAPS * channels;
        }
    }
}

/* The same, for windows of at most MOST_TAPS. */
static inline void sum_few(const mcud_map *in, int32_t channels, window w, int32_t c,
                           int32_t sums[4])
{
    pair_sums all = {0, 0};
    for (int32_t y = w.top; y < w.bottom; y++) {
        add_taps(mcud_row(in, y) + w.left * channels + c, channels, w.right - w.left, &all);
    }
    sums[0] = sums[1] = sums[2] = sums[3] = 0;
    widen(all, sums);
}

/* Whole rows that follow each other as one row; only for addressing by mcud_row(in, w.top). */
static inline window joined(const mcud_map *in, int32_t channels, window w)
{
    if ((w.right - w.left) * channels == in->row_bytes && w.bottom <= in->ring) {
        return (window){w.top, w.top + 1, 0, (w.right - w.left) * (w.bottom - w.top)};
    }
    return w;
}

static int32_t sum_one(const mcud_map *in, int32_t channels, window w, int32_t c)
{
    int32_t sum = 0;
    for (int32_t y = w.top; y < w.bottom; y++) {
        const int8_t *const from = mcud_row(in, y) + c;
        for (int32_t x = w.left; x < w.right; x++) {
            sum += from[x * channels];
        }
    }
    return sum;
}

/* The mean rounded half away from zero. */
static inline int32_t average(int32_t sum, int32_t count, int32_t half)
{
    return (sum > 0 ? sum + half : sum - half) / count;
}

/* One output pixel. */
static void average_pixel(const mcud_map *in, int32_t channels, window w, int8_t *to)
{
    const int32_t count = (w.bottom - w.top) * (w.right - w.left);
    const int32_t half = count / 2;
    const window all = joined(in, channels, w);
    for (int32_t c = first_of_four(0, channels); c >= 0; c = first_of_four(c + 4, channels)) {
        int32_t sums[4];
        if (count <= MOST_TAPS) {
            sum_few(in, channels, all, c, sums);
        } else {
            sum_many(in, channels, all, c, sums);
        }
        to[c] = (int8_t)average(sums[0], count, half);
        to[c + 1] = (int8_t)average(sums[1], count, half);
        to[c + 2] = (int8_t)average(sums[2], count, half);
        to[c + 3] = (int8_t)average(sums[3], count, half);
    }
    for (int32_t c = 0; c < channels && channels < 4; c++) {
        to[c] = (int8_t)average(sum_one(in, channels, w, c), count, half);
    }
}

static inline int has_activation(const mcud_pool_s8_t *p)
{
    return p->activation_min > -128 || p->activation_max < 127;
}

void mcud_average_pool_s8(const mcud_pool_s8_t *p, mcud_map in, mcud_map out, int32_t row_begin,
                          int32_t row_end)
{
    for (int32_t y = row_begin; y < row_end; y++) {
        int8_t *to = mcud_row(&out, y);
        for (int32_t x = 0; x < p->out_w; x++, to += p->channels) {
            average_pixel(&in, p->channels, window_at(p, y, x), to);
            if (has_activation(p)) {
                mcud_clamp_row(to, p->channels, p->activation_min, p->activation_max);
            }
        }
    }
}

/* A sum of each channel that is kept from row to row: int16 where no map can make it larger. */
typedef struct {
    int8_t *at;
    int32_t narrow;
} kept_sums;

static inline kept_sums kept_sums_at(int8_t *state, int32_t pixels)
{
    return (kept_sums){state, pixels <= MOST_TAPS};
}

static inline int32_t kept_sum(kept_sums sums, int32_t c)
{
    return sums.narrow ? ((int16_t *)(void *)sums.at)[c] : ((int32_t *)(void *)sums.at)[c];
}

static inline void add_to_sum(kept_sums sums, int32_t c, int32_t more)
{
    if (sums.narrow) {
        ((int16_t *)(void *)sums.at)[c] += (int16_t)more;
    } else {
        ((int32_t *)(void *)sums.at)[c] += more;
    }
}

/* Adds a row of `pixels` to the sums of all channels; the first row starts them. */
static void add_row(const int8_t *row, int32_t pixels, int32_t channels, int32_t y, kept_sums sums)
{
    const mcud_map map = {(int8_t *)row, pixels * channels, 1};
    const window all = {0, 1, 0, pixels};
    if (y == 0) {
        memset(sums.at, 0, (size_t)channels * (sums.narrow ? sizeof(int16_t) : sizeof(int32_t)));
    }
    int32_t c = 0;
    for (; c + 4 <= channels; c += 4) {
        int32_t more[4];
        sum_many(&map, channels, all, c, more);
        for (int32_t i = 0; i < 4; i++) {
            add_to_sum(sums, c + i, more[i]);
        }
    }
    for (; c < channels; c++) {
        add_to_sum(sums, c, sum_one(&map, channels, all, c));
    }
}

void mcud_average_pool_row_s8(const mcud_pool_s8_t *p, const int8_t *row, int32_t y, int8_t *state,
                              int8_t *out)
{
    const int32_t count = p->in_h * p->in_w;
    const kept_sums sums = kept_sums_at(state, count);
    add_row(row, p->in_w, p->channels, y, sums);
    if (y + 1 < p->in_h) {
        return;
    }
    for (int32_t c = 0; c < p->channels; c++) {
        out[c] = (int8_t)average(kept_sum(sums, c), count, count / 2);
    }
    if (has_activation(p)) {
        mcud_clamp_row(out, p->channels, p->activation_min, p->activation_max);
    }
}

void mcud_max_pool_s8(const mcud_pool_s8_t *p, mcud_map in, mcud_map out, int32_t row_begin,
                      int32_t row_end)
{
    for (int32_t y = row_begin; y < row_end; y++) {
        int8_t *to = mcud_row(&out, y);
        for (int32_t x = 0; x < p->out_w; x++, to += p->channels) {
            const window w = window_at(p, y, x);
            for (int32_t c = first_of_four(0, p->channels); c >= 0;
                 c = first_of_four(c + 4, p->channels)) {
                uint32_t most = 0x80808080u;
                for (int32_t row = w.top; row < w.bottom; row++) {
                    const int8_t *from = mcud_row(&in, row) + w.left * p->channels + c;
                    for (int32_t i = w.left; i < w.right; i++, from += p->channels) {
                        most = greater_bytes(most, mcud_load4(from));
                    }
                }
                mcud_store4(to + c, most);
            }
            for (int32_t c = 0; c < p->channels && p->channels < 4; c++) {
                int32_t most = -128;
                for (int32_t row = w.top; row < w.bottom; row++) {
                    const int8_t *const from = mcud_row(&in, row) + c;
                    for (int32_t i = w.left; i < w.right; i++) {
                        most = mcud_max(most, from[i * p->channels]);
                    }
                }
                to[c] = (int8_t)most;
            }
            if (has_activation(p)) {
                mcud_clamp_row(to, p->channels, p->activation_min, p->activation_max);
            }
        }
    }
}

void mcud_max_pool_row_s8(const mcud_pool_s8_t *p, const int8_t *row, int32_t y, int8_t *most,
                          int8_t *out)
{
    const int32_t channels = p->channels;
    if (y == 0) {
        memset(most, -128, (size_t)channels);
    }
    for (int32_t x = 0; x < p->in_w; x++, row += channels) {
        int32_t c = 0;
        for (; c + 4 <= channels; c += 4) {
            mcud_store4(most + c, greater_bytes(mcud_load4(most + c), mcud_load4(row + c)));
        }
        for (; c < channels; c++) {
            most[c] = (int8_t)mcud_max(most[c], row[c]);
        }
    }
    if (y + 1 < p->in_h) {
        return;
    }
    memcpy(out, most, (size_t)channels);
    if (has_activation(p)) {
        mcud_clamp_row(out, channels, p->activation_min, p->activation_max);
    }
}

/* TFLite's MultiplyByQuantizedMultiplier for any multiplier and shift, the zero point added. */
static int8_t requantize_any(int32_t x, const mcud_mean_s8_t *p)
{
    const int64_t product = (int64_t)x * (1 << mcud_max(p->shift, 0)) * p->multiplier;
    const int32_t e = mcud_max(-p->shift, 0);
    int32_t y = (int32_t)((product + (1 << 30)) >> 31);
    if (e > 0) {
        y = (int32_t)(((int64_t)y + ((int64_t)1 << (e - 1)) - (y < 0)) >> e);
    }
    return (int8_t)mcud_saturate8(y + p->out_zero_point);
}

void mcud_mean_row_s8(const mcud_mean_s8_t *p, const int8_t *row, int32_t y, int8_t *state,
                      int8_t *out)
{
    const int32_t count = p->in_h * p->in_w;
    const kept_sums sums = kept_sums_at(state, count);
    add_row(row, p->in_w, p->channels, y, sums);
    for (int32_t c = 0; y + 1 == p->in_h && c < p->channels; c++) {
        out[c] = requantize_any(kept_sum(sums, c) - count * p->in_zero_point, p);
    }
}

void mcud_mean_s8(const mcud_mean_s8_t *p, mcud_map in, int8_t *out)
{
    const window all = {0, p->in_h, 0, p->in_w};
    const int32_t zero = p->in_h * p->in_w * p->in_zero_point;
    for (int32_t c = first_of_four(0, p->channels); c >= 0; c = first_of_four(c + 4, p->channels)) {
        int32_t sums[4];
        sum_many(&in, p->channels, joined(&in, p->channels, all), c, sums);
        for (int32_t i = 0; i < 4; i++) {
            out[c + i] = requantize_any(sums[i] - zero, p);
        }
    }
    for (int32_t c = 0; c < p->channels && p->channels < 4; c++) {
        out[c] = requantize_any(sum_one(&in, p->channels, all, c) - zero, p);
    }
}
