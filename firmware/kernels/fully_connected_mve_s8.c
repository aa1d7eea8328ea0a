/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dense layers with Helium (Armv8.1-M MVE): sixteen products an instruction, and each block of
 * sixteen inputs is loaded once for four output channels. Blocks that are whole need no predicate;
 * the last one of a row is read under one, whose other lanes give zero. int32 sums are the same in
 * any order.
 *
 * Requantization of four sums at once is TFLite's double rounding (mcud.h): VQRDMULH gives
 * floor((x * m + 2^30) / 2^31), and VRSHL adds 2^(e-1) before it shifts, to which 1 is taken off
 * negative values first.
 *
 * Without Helium the same in plain C, so that the file builds for every core.
 */
#include "fully_connected_mve_s8.h"

#define CHANNELS 4
#define LANES 16

#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>

/* The sums of four channels, whose rows lie `count` bytes apart. */
static inline int32x4_t four_sums(const int8_t *w, const int8_t *x, int32_t count, int32x4_t starts)
{
    const int8_t *w0 = w;
    const int8_t *w1 = w0 + count;
    const int8_t *w2 = w1 + count;
    const int8_t *w3 = w2 + count;
    int32_t a = 0;
    int32_t b = 0;
    int32_t c = 0;
    int32_t d = 0;
    for (int32_t blocks = count / LANES; blocks > 0; blocks--) {
        const int8x16_t inputs = vldrbq_s8(x);
        a = vmladavaq_s8(a, inputs, vldrbq_s8(w0));
        b = vmladavaq_s8(b, inputs, vldrbq_s8(w1));
        c = vmladavaq_s8(c, inputs, vldrbq_s8(w2));
        d = vmladavaq_s8(d, inputs, vldrbq_s8(w3));
        x += LANES;
        w0 += LANES;
        w1 += LANES;
        w2 += LANES;
        w3 += LANES;
    }
    if (count % LANES > 0) {
        const mve_pred16_t left = vctp8q((uint32_t)(count % LANES));
        const int8x16_t inputs = vldrbq_z_s8(x, left);
        a = vmladavaq_s8(a, inputs, vldrbq_z_s8(w0, left));
        b = vmladavaq_s8(b, inputs, vldrbq_z_s8(w1, left));
        c = vmladavaq_s8(c, inputs, vldrbq_z_s8(w2, left));
        d = vmladavaq_s8(d, inputs, vldrbq_z_s8(w3, left));
    }
    const int32x4_t sums = {a, b, c, d};
    return vaddq_s32(starts, sums);
}

/* The sums of the one to three channels that are left; the other lanes hold zeros. */
static int32x4_t last_sums(const int8_t *w, const int8_t *x, int32_t count, int32_t channels,
                           int32x4_t starts)
{
    int32_t sums[CHANNELS] = {0, 0, 0, 0};
    for (int32_t i = 0; i < channels; i++, w += count) {
        for (int32_t at = 0; at < count; at += LANES) {
            const mve_pred16_t some = vctp8q((uint32_t)(count - at));
            sums[i] = vmladavaq_s8(sums[i], vldrbq_z_s8(x + at, some), vldrbq_z_s8(w + at, some));
        }
    }
    return vaddq_s32(starts, vldrwq_s32(sums));
}

static void one_row(const mcud_fully_connected_mve_s8_t *p, const int8_t *in, int8_t *out)
{
    const int8_t *w = p->weights;
    int32x4_t multipliers = vdupq_n_s32(p->multipliers[0]);
    int32x4_t shifts = vdupq_n_s32(p->shifts[0]);
    for (int32_t channel = 0; channel < p->out_c; channel += CHANNELS, w += CHANNELS * p->in_c) {
        const int32_t left = p->out_c - channel;
        const mve_pred16_t some = vctp32q((uint32_t)left);
        const int32x4_t starts = vldrwq_z_s32(p->starts + channel, some);
        if (p->per_channel) {
            multipliers = vldrwq_z_s32(p->multipliers + channel, some);
            shifts = vldrwq_z_s32(p->shifts + channel, some);
        }
        int32x4_t y = left >= CHANNELS ? four_sums(w, in, p->in_c, starts)
                                       : last_sums(w, in, p->in_c, left, starts);
        y = vqrdmulhq_s32(y, multipliers);
        y = vaddq_s32(y, vshrq_n_s32(y, 31));
        y = vaddq_n_s32(vrshlq_s32(y, shifts), p->out_zero_point);
        y = vmaxq_s32(y, vdupq_n_s32(p->activation_min));
        y = vminq_s32(y, vdupq_n_s32(p->activation_max));
        vstrbq_p_s32(out + channel, y, some);
    }
}

#else

static void one_row(const mcud_fully_connected_mve_s8_t *p, const int8_t *in, int8_t *out)
{
    for (int32_t channel = 0; channel < p->out_c; channel += CHANNELS) {
        const int32_t end = mcud_min(channel + CHANNELS, p->out_c);
        int32_t sums[CHANNELS];
        for (int32_t i = channel; i < end; i++) {
            sums[i - channel] = p->starts[i];
            for (int32_t k = 0; k < p->in_c; k++) {
                sums[i - channel] += in[k] * p->weights[i * p->in_c + k];
            }
        }
        for (int32_t i = channel; i < end; i++) {
            const int32_t m = p->multipliers[p->per_channel ? i : 0];
            const int32_t e = -p->shifts[p->per_channel ? i : 0];
            int32_t y = (int32_t)(((int64_t)sums[i - channel] * m + (1 << 30)) >> 31);
            y += y >> 31;
            y = ((y + (1 << (e - 1))) >> e) + p->out_zero_point;
            out[i] = (int8_t)mcud_clamp(y, p->activation_min, p->activation_max);
        }
    }
}

#endif

void mcud_fully_connected_mve_s8(const mcud_fully_connected_mve_s8_t *p, const int8_t *in,
                                 int8_t *out, int32_t batches)
{
    for (; batches > 0; batches--, in += p->in_c, out += p->out_c) {
        one_row(p, in, out);
    }
}
