/* SPDX-License-Identifier: Apache-2.0
 *
 * UNIDIRECTIONAL_SEQUENCE_LSTM: int8 sequence and hidden state, int16 cell state, batch 1.
 * Arithmetic: TFLM's reference kernel: gates in Q3.12, sigmoid and tanh interpolated in a table of
 * 256 values (CMSIS-NN's sigmoid_table_uint16, the same as TFLite's).
 */
#ifndef MCUDEPLOY_LSTM_S8_H
#define MCUDEPLOY_LSTM_S8_H

#include <stdint.h>

/* One gate: weights (units x in_c) and (units x units), int32 biases, and their rescalings. */
typedef struct {
    const int8_t *input_weights;
    const int8_t *hidden_weights;
    const int32_t *biases;
    int32_t input_multiplier, input_shift;
    int32_t hidden_multiplier, hidden_shift;
} mcud_lstm_gate_t;

typedef struct {
    mcud_lstm_gate_t forget, input, cell, output;
    int32_t steps, in_c, units;
    int32_t in_zero_point, hidden_zero_point;
    int32_t forget_multiplier, forget_shift; /* forget gate * cell state */
    int32_t update_multiplier, update_shift; /* input gate * cell gate */
    int32_t hidden_multiplier, hidden_shift; /* output gate * tanh(cell state) */
    int32_t cell_shift;                      /* cell state to the argument of tanh, left */
    int32_t cell_clip;                       /* 0: none */
} mcud_lstm_s8_t;

/*
 * `in`: steps x in_c; `out`: steps x units, each the hidden state after a step; `hidden` (units) and
 * `cell` (units) are the state, read and left as after the last step. No scratch; `out` must not
 * share bytes with `in`.
 */
void mcud_lstm_s8(const mcud_lstm_s8_t *p, const int8_t *in, int8_t *hidden, int16_t *cell,
                  int8_t *out);

#endif
