/* SPDX-License-Identifier: Apache-2.0 */
#include "edges.h"

#include "fixed_point.h"

#define FAR 100000

/* Half away from zero; what is beyond the range of 16 bits by far is clamped before the cast. */
static int32_t round_half_away(float value)
{
    if (!(value > (float)-FAR)) {
        return -FAR;
    }
    if (value > (float)FAR) {
        return FAR;
    }
    const int32_t whole = (int32_t)value;
    const float rest = value - (float)whole;

    return rest >= 0.5f ? whole + 1 : (rest <= -0.5f ? whole - 1 : whole);
}

static int32_t clamped(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : (value > high ? high : value);
}

static int32_t stored(float value, const mcud_affine_t *to)
{
    return clamped(round_half_away(value / to->scale) + to->zero_point, to->low, to->high);
}

void mcud_quantize_f32_8(const float *in, void *out, int32_t count, const mcud_affine_t *to)
{
    uint8_t *bytes = out;

    for (int32_t i = 0; i < count; i++) {
        bytes[i] = (uint8_t)stored(in[i], to);
    }
}

void mcud_quantize_f32_16(const float *in, void *out, int32_t count, const mcud_affine_t *to)
{
    uint16_t *halves = out;

    for (int32_t i = 0; i < count; i++) {
        halves[i] = (uint16_t)stored(in[i], to);
    }
}

void mcud_dequantize_s8_f32(const int8_t *in, float *out, int32_t count, float scale,
                            int32_t zero_point)
{
    for (int32_t i = count - 1; i >= 0; i--) {
        out[i] = scale * (float)((int32_t)in[i] - zero_point);
    }
}

void mcud_dequantize_u8_f32(const uint8_t *in, float *out, int32_t count, float scale,
                            int32_t zero_point)
{
    for (int32_t i = count - 1; i >= 0; i--) {
        out[i] = scale * (float)((int32_t)in[i] - zero_point);
    }
}

void mcud_dequantize_s16_f32(const int16_t *in, float *out, int32_t count, float scale,
                             int32_t zero_point)
{
    for (int32_t i = count - 1; i >= 0; i--) {
        out[i] = scale * (float)((int32_t)in[i] - zero_point);
    }
}

static int32_t rescaled(int32_t value, const mcud_rescale_t *q)
{
    return mcud_wrapping_add(mcud_multiply(value - q->in_zero_point, q->multiplier, q->shift),
                             q->out_zero_point);
}

void mcud_rescale_s16_s8(const int16_t *in, int8_t *out, int32_t count, const mcud_rescale_t *q)
{
    for (int32_t i = 0; i < count; i++) {
        out[i] = (int8_t)clamped(rescaled(in[i], q), INT8_MIN, INT8_MAX);
    }
}

void mcud_rescale_s8_s16(const int8_t *in, int16_t *out, int32_t count, const mcud_rescale_t *q)
{
    for (int32_t i = count - 1; i >= 0; i--) {
        out[i] = (int16_t)clamped(rescaled(in[i], q), INT16_MIN, INT16_MAX);
    }
}
