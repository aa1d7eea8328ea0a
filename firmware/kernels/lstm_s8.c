/* SPDX-License-Identifier: Apache-2.0 */
#include "lstm_s8.h"

#include <string.h>

#include "arm_nn_tables.h"
#include "fixed_point.h"

static int32_t saturated_s16(int32_t x)
{
    return x < INT16_MIN ? INT16_MIN : (x > INT16_MAX ? INT16_MAX : x);
}

/*
 * 2^(16 + bits) * sigmoid(|x| * 2^-bits / 24) by interpolation; `limit` beyond the table. x is 3 times
 * an argument in Q3.12, twice that for tanh.
 */
static uint32_t interpolated(uint32_t magnitude, uint32_t bits, uint32_t limit)
{
    const uint32_t index = magnitude >> bits;

    if (index >= 255) {
        return limit;
    }
    const uint32_t low = sigmoid_table_uint16[index];
    const uint32_t high = sigmoid_table_uint16[index + 1];

    return (low << bits) + (magnitude & ((1u << bits) - 1)) * (high - low);
}

/* Q3.12 to Q0.15 */
static int32_t sigmoid(int32_t x)
{
    const int32_t scaled = 3 * x;
    uint32_t result = interpolated((uint32_t)(scaled < 0 ? -scaled : scaled), 9, 0x7FFFu << 10);

    if (scaled >= 0) {
        result += 1u << 9;
    } else {
        result = (1u << 25) - result + (1u << 9) - 1;
    }
    return (int16_t)(result >> 10);
}

/* 3 * argument to Q0.15 */
static int32_t tanh_of(int32_t scaled)
{
    uint32_t result = interpolated((uint32_t)(scaled < 0 ? -scaled : scaled), 8, 0xFFFFu << 8);

    if (scaled >= 0) {
        result = result - (1u << 23) + (1u << 7);
    } else {
        result = (1u << 23) - result + (1u << 7) - 1;
    }
    return (int16_t)(result >> 8);
}

static int32_t dot(const int8_t *weights, const int8_t *in, int32_t count, int32_t zero_point)
{
    int32_t sum = 0;

    for (int32_t i = 0; i < count; i++) {
        sum += weights[i] * (in[i] - zero_point);
    }
    return sum;
}

/* The argument of a gate of one unit, in Q3.12. */
static int32_t gate(const mcud_lstm_s8_t *p, const mcud_lstm_gate_t *g, const int8_t *in,
                    const int8_t *hidden, int32_t unit)
{
    const int32_t from_input =
        dot(g->input_weights + unit * p->in_c, in, p->in_c, p->in_zero_point) + g->biases[unit];
    const int32_t from_hidden =
        dot(g->hidden_weights + unit * p->units, hidden, p->units, p->hidden_zero_point);

    return saturated_s16(
        saturated_s16(mcud_multiply(from_input, g->input_multiplier, g->input_shift)) +
        saturated_s16(mcud_multiply(from_hidden, g->hidden_multiplier, g->hidden_shift)));
}

/* 3 times the cell state in the scale of tanh's argument. */
static int32_t cell_argument(const mcud_lstm_s8_t *p, int32_t cell)
{
    if (p->cell_shift >= 0) {
        return cell * 3 * (1 << p->cell_shift);
    }
    const int32_t right = -p->cell_shift;

    return (cell * 3 + (1 << (right - 1))) >> right;
}

static int32_t updated_cell(const mcud_lstm_s8_t *p, int32_t cell, int32_t forget, int32_t input,
                            int32_t candidate)
{
    const int32_t kept = mcud_multiply(forget * cell, p->forget_multiplier, p->forget_shift);
    const int32_t added = mcud_multiply(input * candidate, p->update_multiplier, p->update_shift);
    const int32_t sum = saturated_s16(saturated_s16(kept) + saturated_s16(added));

    if (p->cell_clip > 0) {
        return sum < -p->cell_clip ? -p->cell_clip : (sum > p->cell_clip ? p->cell_clip : sum);
    }
    return sum;
}

void mcud_lstm_s8(const mcud_lstm_s8_t *p, const int8_t *in, int8_t *hidden, int16_t *cell,
                  int8_t *out)
{
    const int8_t *before = hidden;

    for (int32_t step = 0; step < p->steps; step++) {
        for (int32_t u = 0; u < p->units; u++) {
            const int32_t forget = sigmoid(gate(p, &p->forget, in, before, u));
            const int32_t input = sigmoid(gate(p, &p->input, in, before, u));
            const int32_t candidate = tanh_of(3 * gate(p, &p->cell, in, before, u));
            const int32_t shown = sigmoid(gate(p, &p->output, in, before, u));

            cell[u] = (int16_t)updated_cell(p, cell[u], forget, input, candidate);
            const int32_t product = shown * tanh_of(cell_argument(p, cell[u]));
            out[u] = mcud_clamp_s8(
                mcud_wrapping_add(mcud_multiply(product, p->hidden_multiplier, p->hidden_shift),
                                  p->hidden_zero_point),
                -128, 127);
        }
        before = out;
        in += p->in_c;
        out += p->units;
    }
    memcpy(hidden, before, (size_t)p->units);
}
