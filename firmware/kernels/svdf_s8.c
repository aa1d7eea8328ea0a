/* SPDX-License-Identifier: Apache-2.0 */
#include "svdf_s8.h"

#include <stddef.h>
#include <string.h>

#include "fixed_point.h"

/* What a step appends to the state of one filter, its zero point not added. */
static int32_t feature(const mcud_svdf_s8_t *p, const int8_t *in, int32_t filter)
{
    const int8_t *weights = p->feature + filter * p->in_c;
    int32_t sum = 0;

    for (int32_t i = 0; i < p->in_c; i++) {
        sum += weights[i] * (in[i] - p->in_zero_point);
    }
    return mcud_multiply(sum, p->state_multiplier, p->state_shift);
}

static int32_t clamped(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : (x > high ? high : x);
}

static int8_t output(const mcud_svdf_s8_t *p, int32_t sum)
{
    const int32_t scaled = mcud_multiply(sum, p->out_multiplier, p->out_shift);

    return mcud_clamp_s8(mcud_wrapping_add(scaled, p->out_zero_point), -128, 127);
}

void mcud_svdf_s8_state_s16(const mcud_svdf_s8_t *p, const int8_t *in, int16_t *state, int8_t *out)
{
    const int32_t filters = p->units * p->rank;
    const int16_t *weights = p->time;

    memmove(state, state + 1, (size_t)(filters * p->memory - 1) * sizeof *state);
    for (int32_t f = 0; f < filters; f++) {
        const int32_t value = clamped(feature(p, in, f), INT16_MIN, INT16_MAX);
        state[f * p->memory + p->memory - 1] = (int16_t)(value + p->state_zero_point);
    }
    for (int32_t u = 0; u < p->units; u++) {
        int32_t sum = p->biases != NULL ? p->biases[u] : 0;
        for (int32_t i = p->rank * p->memory; i > 0; i--) {
            sum = mcud_wrapping_add(sum, *weights++ * (*state++ - p->state_zero_point));
        }
        out[u] = output(p, sum);
    }
}

void mcud_svdf_s8_state_s8(const mcud_svdf_s8_t *p, const int8_t *in, int8_t *state, int8_t *out)
{
    const int32_t filters = p->units * p->rank;
    const int8_t *weights = p->time;

    memmove(state, state + 1, (size_t)(filters * p->memory - 1) * sizeof *state);
    for (int32_t f = 0; f < filters; f++) {
        const int32_t value = clamped(feature(p, in, f), INT8_MIN, INT8_MAX);
        /* The reference adds the zero point after it clamps: the sum may wrap. */
        state[f * p->memory + p->memory - 1] = (int8_t)(value + p->state_zero_point);
    }
    for (int32_t u = 0; u < p->units; u++) {
        int32_t sum = p->biases != NULL ? p->biases[u] : 0;
        for (int32_t i = p->rank * p->memory; i > 0; i--) {
            sum += *weights++ * (*state++ - p->state_zero_point);
        }
        out[u] = output(p, sum);
    }
}
