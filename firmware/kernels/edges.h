/* SPDX-License-Identifier: Apache-2.0
 *
 * QUANTIZE and DEQUANTIZE at the edges of a network, between float and stored integers, and between
 * stored integers of 8 and of 16 bits.
 * Arithmetic: TFLite's AffineQuantize, Dequantize and Requantize, floats in single precision.
 */
#ifndef MCUDEPLOY_EDGES_H
#define MCUDEPLOY_EDGES_H

#include <stdint.h>

/* real = scale * (stored - zero_point); what is stored is clamped to [low, high]. */
typedef struct {
    float scale;
    int32_t zero_point;
    int32_t low, high;
} mcud_affine_t;

/*
 * out[i] = clamp(round(in[i] / scale) + zero_point), halves away from zero, to 8 or 16 bits (signed
 * or not, as `low` says). Ascending: `out` may begin where `in` begins.
 */
void mcud_quantize_f32_8(const float *in, void *out, int32_t count, const mcud_affine_t *to);
void mcud_quantize_f32_16(const float *in, void *out, int32_t count, const mcud_affine_t *to);

/* out[i] = scale * (in[i] - zero_point). Descending: `out` may begin where `in` begins. */
void mcud_dequantize_s8_f32(const int8_t *in, float *out, int32_t count, float scale,
                            int32_t zero_point);
void mcud_dequantize_u8_f32(const uint8_t *in, float *out, int32_t count, float scale,
                            int32_t zero_point);
void mcud_dequantize_s16_f32(const int16_t *in, float *out, int32_t count, float scale,
                             int32_t zero_point);

/* The ratio of two scales is multiplier * 2^(shift - 31). */
typedef struct {
    int32_t in_zero_point, out_zero_point;
    int32_t multiplier, shift;
} mcud_rescale_t;

/* To int8; ascending: `out` may begin where `in` begins. */
void mcud_rescale_s16_s8(const int16_t *in, int8_t *out, int32_t count, const mcud_rescale_t *q);
/* To int16; descending: `out` may begin where `in` begins. */
void mcud_rescale_s8_s16(const int8_t *in, int16_t *out, int32_t count, const mcud_rescale_t *q);

#endif
