/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <string.h>

#include "crc32.h"
#include "cycle_counter.h"
#include "exchange.h"
#include "model.h"

#define RUN_DONE 0u
#define RUN_FULL 1u    /* more rows follow */
#define RUN_STOPPED 2u /* at the wanted operator, or at a piece of it */
#define RUN_HUNGRY 3u  /* the next row of the input is wanted */

#define CALIBRATION 0xFFFFFFFFu /* operator index that only measures the observer itself */

static struct
{
    run_request_t wanted;
    uint32_t operator_index; /* of the row in work */
    uint32_t output;         /* outputs of it so far */
    uint32_t crc;
    uint32_t cycles;
    uint32_t first_row; /* operator of the first row in the answer */
    uint32_t rows;
    uint32_t overhead; /* cycles from the counter's restart to its next read that are the observer's */
    const uint8_t *shown;
    uint32_t shown_bytes;
    uint8_t paused;
    uint8_t hungry;
} run;

int run_is_paused(void)
{
    return run.paused;
}

int run_is_hungry(void)
{
    return run.hungry;
}

const uint8_t *run_shown(uint32_t *bytes)
{
    *bytes = run.shown_bytes;
    return run.shown;
}

/* `figure`: cycles of a plain run, bytes of the output that a stopped run shows. */
static void send_rows(uint8_t state, uint32_t figure)
{
    uint8_t *out = exchange_answer();

    *out++ = state;
    *out++ = (uint8_t)run.rows;
    out = put16(out, run.first_row);
    put32(out, figure);
    exchange_send(RUN_HEAD_BYTES + run.rows * RUN_ROW_BYTES);
}

static void pause_run(uint8_t state)
{
    send_rows(state, state == RUN_STOPPED ? run.shown_bytes : 0);
    run.paused = 1;
    run_serve();
    run.paused = 0;
    run.first_row += run.rows;
    run.rows = 0;
}

static void end_row(void)
{
    uint8_t *row = exchange_answer() + RUN_HEAD_BYTES + run.rows * RUN_ROW_BYTES;

    if (run.output == 0) {
        return;
    }
    put32(put32(row, run.crc), run.cycles);
    run.rows++;
    run.output = 0;
    if (run.rows == run.wanted.rows_max) {
        pause_run(RUN_FULL);
    }
}

static void stop_at(const void *output, uint32_t bytes)
{
    run.shown = output;
    run.shown_bytes = bytes;
    pause_run(RUN_STOPPED);
    run.shown_bytes = 0;
}

#ifdef MODEL_STREAM_COUNT

/* The operators of the streamed part in work; `stream` is NULL between such parts. */
static struct
{
    uint32_t crc;
    uint32_t cycles;
} streamed[MODEL_STREAM_OPERATORS];
static const model_stream_t *stream;

/* The rows of a part that has ended. */
static void end_stream(void)
{
    for (uint32_t i = 0; stream != NULL && stream->first + i < stream->end; i++) {
        run.crc = streamed[i].crc;
        run.cycles = streamed[i].cycles;
        run.output = 1;
        end_row();
    }
    stream = NULL;
}

/* Takes a row of a streamed operator's output; 0 for an operator that is not streamed. */
static int take_streamed(uint32_t operator_index, const void *output, uint32_t bytes, uint32_t cycles)
{
    if (stream == NULL || operator_index < stream->first || operator_index >= stream->end) {
        end_stream();
        for (uint32_t i = 0; i < MODEL_STREAM_COUNT; i++) {
            if (operator_index >= model_streams[i].first && operator_index < model_streams[i].end) {
                end_row();
                memset(streamed, 0, sizeof streamed);
                stream = &model_streams[i];
            }
        }
        if (stream == NULL) {
            return 0;
        }
    }
    const uint32_t i = operator_index - stream->first;
    streamed[i].crc = crc32_update(streamed[i].crc, output, bytes);
    streamed[i].cycles += cycles;
    if (operator_index == run.wanted.stop_operator && run.wanted.stop_output == 0) {
        stop_at(output, bytes);
    }
    return 1;
}

#else

static void end_stream(void)
{
}

static int take_streamed(uint32_t operator_index, const void *output, uint32_t bytes, uint32_t cycles)
{
    (void)operator_index;
    (void)output;
    (void)bytes;
    (void)cycles;
    return 0;
}

#endif

static void take_output(uint32_t operator_index, const void *output, uint32_t bytes, uint32_t cycles)
{
    if (take_streamed(operator_index, output, bytes, cycles)) {
        return;
    }
    if (operator_index != run.operator_index) {
        end_row();
        run.operator_index = operator_index;
        run.crc = 0;
        run.cycles = 0;
    }
    run.cycles += cycles;
    run.crc = crc32_update(run.crc, output, bytes);
    if (operator_index == run.wanted.stop_operator && run.output == run.wanted.stop_output) {
        stop_at(output, bytes);
    }
    run.output++;
}

/* A model_observer_t. */
static void observe(uint32_t operator_index, const void *output, uint32_t bytes)
{
    const uint32_t spent = cycle_counter_read();

    if (operator_index == CALIBRATION) {
        run.overhead = spent;
    } else {
        take_output(operator_index, output, bytes, spent > run.overhead ? spent - run.overhead : 0);
    }
    cycle_counter_restart();
}

#ifdef MODEL_INPUT_ROWS

/* Waits until the host has written the next row where it is to lie. */
static void await_row(void)
{
    run.hungry = 1;
    pause_run(RUN_HUNGRY);
    run.hungry = 0;
}

static void run_network(model_observer_t observer)
{
    do {
        await_row();
        cycle_counter_restart();
    } while (!model_feed_rows_observed(model_input_row(), 1, observer));
}

static void feed_row(void)
{
    (void)model_feed_rows(model_input_row(), 1);
}

#else

static void run_network(model_observer_t observer)
{
    model_invoke_observed(observer);
}

#endif

void run_observed(const run_request_t *wanted)
{
    volatile model_observer_t observer = observe;

    run.wanted = *wanted;
    run.operator_index = CALIBRATION;
    run.output = 0;
    run.first_row = 0;
    run.rows = 0;
    observer(CALIBRATION, NULL, 0);
    observer(CALIBRATION, NULL, 0); /* from the end of the first to the start of this */
    run_network(observer);
    end_stream();
    end_row();
    send_rows(RUN_DONE, 0);
}

/* A function of one instruction, its return: what is measured around it is the measuring. */
__attribute__((naked, noinline)) static void nothing(void)
{
    __asm volatile("bx lr");
}

__attribute__((noinline)) static uint32_t measure(void (*function)(void))
{
    cycle_counter_restart();
    function();
    return cycle_counter_read();
}

void run_plain(void)
{
    const uint32_t overhead = measure(nothing);

    run.first_row = 0;
    run.rows = 0;
#ifdef MODEL_INPUT_ROWS
    uint32_t cycles = 0;
    for (uint32_t row = 0; row < MODEL_INPUT_ROWS; row++) {
        await_row();
        cycles += measure(feed_row) - overhead;
    }
    send_rows(RUN_DONE, cycles);
#else
    send_rows(RUN_DONE, measure(model_invoke) - overhead);
#endif
}
