/* SPDX-License-Identifier: Apache-2.0 */
#include "edges.h"

/* Half away from zero; what is beyond the range of int8 by far is clamped before the cast. */
static int32_t round_half_away(float value)
{
    if (!(value > -1000.0f))
    {
        return -1000;
    }
    if (value > 1000.0f)
    {
        return 1000;
    }
    const int32_t whole = (int32_t)value;
    const float rest = value - (float)whole;

    return rest >= 0.5f ? whole + 1 : (rest <= -0.5f ? whole - 1 : whole);
}

void mcud_quantize_f32_s8(const float *in, int8_t *out, int32_t count, float scale, int32_t zero_point)
{
    for (int32_t i = 0; i < count; i++)
    {
        const int32_t stored = round_half_away(in[i] / scale) + zero_point;
        out[i] = (int8_t)(stored < INT8_MIN ? INT8_MIN : (stored > INT8_MAX ? INT8_MAX : stored));
    }
}

void mcud_dequantize_s8_f32(const int8_t *in, float *out, int32_t count, float scale, int32_t zero_point)
{
    for (int32_t i = count - 1; i >= 0; i--)
    {
        out[i] = scale * (float)((int32_t)in[i] - zero_point);
    }
}
