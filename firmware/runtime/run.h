/* SPDX-License-Identifier: Apache-2.0
 *
 * One inference for the link: plain, or observed operator by operator.
 *
 * An observed run collects a row for each operator (CRC-32 of its output, cycles) in the answer that
 * is to be sent. When the answer is full, or the operator comes that the host wants to see, the run
 * pauses inside the observer: the answer goes out and requests are served from there until CONTINUE.
 * So the memory that this takes does not grow with the model, but for parts that are streamed: their
 * operators' outputs come row by row in turn, and each has its row in a table until all have ended.
 * A network that is fed by rows pauses for each row of its input. The observer reads the cycle counter
 * as its first act and restarts it as its last; what lies between is not counted.
 */
#ifndef RUN_H
#define RUN_H

#include <stdint.h>

#include "frame.h"

#define RUN_HEAD_BYTES 8u /* of an answer: state, rows, first operator (16 bits), figure (32 bits) */
#define RUN_ROW_BYTES 8u  /* CRC-32, cycles */
#define RUN_ROWS_MAX ((FRAME_PAYLOAD_MAX - RUN_HEAD_BYTES) / RUN_ROW_BYTES)

/* What the host wants of an observed run. */
typedef struct {
    uint32_t rows_max; /* in an answer */
    uint32_t stop_operator;
    uint32_t stop_output;
} run_request_t;

/* Runs the network and sends the answer, rows included. */
void run_observed(const run_request_t *wanted);

/* Runs the network and sends the cycles that model_invoke takes beyond a function that only returns. */
void run_plain(void);

/* While a run is paused: 1, and the bytes that a stopped run shows (none when it waits otherwise). */
int run_is_paused(void);
const uint8_t *run_shown(uint32_t *bytes);

/* Whether the run is paused for the next row of the input. */
int run_is_hungry(void);

/* Serves requests until CONTINUE; link.c's, called when a run pauses. */
void run_serve(void);

#endif
