/* SPDX-License-Identifier: Apache-2.0
 *
 * QUANTIZE and DEQUANTIZE at the edges of a network, between float and int8.
 * Arithmetic: TFLite's AffineQuantize and Dequantize, in single precision.
 */
#ifndef MCUDEPLOY_EDGES_H
#define MCUDEPLOY_EDGES_H

#include <stdint.h>

/* out[i] = clamp(round(in[i] / scale) + zero_point), halves away from zero. Ascending: `out` may
 * begin where `in` begins. */
void mcud_quantize_f32_s8(const float *in, int8_t *out, int32_t count, float scale, int32_t zero_point);

/* out[i] = scale * (in[i] - zero_point). Descending: `out` may begin where `in` begins. */
void mcud_dequantize_s8_f32(const int8_t *in, float *out, int32_t count, float scale, int32_t zero_point);

#endif
