/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests are taken one at a time. The last answer is kept: a request that comes again, byte for
 * byte, because its answer was lost on the way, gets that answer again and is not carried out twice.
 * A frame that cannot be read is answered with an error that leaves the kept answer as it is.
 *
 * An observed run collects a row for each operator (CRC-32 of its output, cycles) in the answer that
 * is to be sent. When the answer is full, or the operator comes that the host wants to see, the run
 * pauses inside the observer: the answer goes out and requests are served from there until CONTINUE.
 * So the memory that this takes does not grow with the model, but for parts that are streamed: their
 * operators' outputs come row by row in turn, and each has its row in a table until all have ended.
 * A network that is fed by rows pauses for each row of its input. The observer reads the cycle counter
 * as its first act and restarts it as its last; what lies between is not counted.
 */
#include "link.h"

#include <string.h>

#include "board_config.h"
#include "crc32.h"
#include "fault.h"
#include "frame.h"
#include "model.h"
#include "stack.h"
#include "uart.h"

#define PAYLOAD(frame) ((frame) + FRAME_HEADER_BYTES)

#define RUN_OBSERVED 1u
#define RUN_REQUEST_BYTES 5u /* flags, rows an answer, operator to stop at (16 bits), its output */
#define RUN_DONE 0u
#define RUN_FULL 1u    /* more rows follow */
#define RUN_STOPPED 2u /* at the wanted operator, or at a piece of it */
#define RUN_HUNGRY 3u  /* the next row of the input is wanted */
#define RUN_HEAD_BYTES 8u
#define ROW_BYTES 8u
#define ROWS_MAX ((FRAME_PAYLOAD_MAX - RUN_HEAD_BYTES) / ROW_BYTES)

#define INFO_PAUSED 1u
#define INFO_STATEFUL 2u
#define INFO_ROW_FED 4u
#define NAME_BYTES_MAX 64u

#define CALIBRATION 0xFFFFFFFFu /* operator index that only measures the observer itself */

static frame_decoder_t request;
static uint8_t answer[FRAME_BYTES_MAX];
static uint32_t answer_bytes; /* header and payload; 0 while nothing was answered */
static uint32_t answered_crc; /* of the request that `answer` belongs to */
static const link_device_t *device;

/* The observed run. */
static struct
{
    uint32_t rows_max; /* in an answer */
    uint32_t stop_operator;
    uint32_t stop_output;
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

/* --- bytes ------------------------------------------------------------------------------------ */

static uint32_t get16(const uint8_t *from)
{
    return from[0] | ((uint32_t)from[1] << 8);
}

static uint32_t get32(const uint8_t *from)
{
    return get16(from) | (get16(from + 2) << 16);
}

static uint8_t *put16(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
    return to + 2;
}

static uint8_t *put32(uint8_t *to, uint32_t value)
{
    return put16(put16(to, value), value >> 16);
}

static uint8_t *put_text(uint8_t *to, const char *text)
{
    uint32_t bytes = 0;

    while (bytes < NAME_BYTES_MAX && text[bytes] != '\0')
    {
        *to++ = (uint8_t)text[bytes++];
    }
    return to;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void send_answer(uint32_t payload_bytes)
{
    answer[0] = (uint8_t)(request.bytes[0] | LINK_ANSWER);
    answer[1] = request.bytes[1];
    answer_bytes = FRAME_HEADER_BYTES + payload_bytes;
    answered_crc = frame_crc(&request);
    frame_send(answer, answer_bytes, uart_send);
}

static void send_error(uint8_t code)
{
    answer[0] = LINK_ERROR;
    answer[1] = request.bytes[1];
    PAYLOAD(answer)[0] = code;
    answer_bytes = FRAME_HEADER_BYTES + 1u;
    answered_crc = frame_crc(&request);
    frame_send(answer, answer_bytes, uart_send);
}

static void send_unreadable(uint8_t code)
{
    uint8_t message[FRAME_HEADER_BYTES + 1u + FRAME_CRC_BYTES] = {LINK_ERROR, 0, code};

    frame_send(message, FRAME_HEADER_BYTES + 1u, uart_send);
}

/* Waits for a request that was not answered yet. */
static void receive_request(void)
{
    for (;;)
    {
        switch (frame_decode(&request, uart_receive()))
        {
        case FRAME_READY:
            if (answer_bytes == 0 || frame_crc(&request) != answered_crc)
            {
                return;
            }
            frame_send(answer, answer_bytes, uart_send);
            break;
        case FRAME_CORRUPT:
            send_unreadable(LINK_ERROR_CORRUPT);
            break;
        case FRAME_OVERSIZED:
            send_unreadable(LINK_ERROR_OVERSIZED);
            break;
        default:
            break;
        }
    }
}

/* --- the observed run ------------------------------------------------------------------------- */

static void serve_until_continue(void);

/* `figure`: cycles of a plain run, bytes of the output that a stopped run shows. */
static void send_rows(uint8_t state, uint32_t figure)
{
    uint8_t *out = PAYLOAD(answer);

    *out++ = state;
    *out++ = (uint8_t)run.rows;
    out = put16(out, run.first_row);
    put32(out, figure);
    send_answer(RUN_HEAD_BYTES + run.rows * ROW_BYTES);
}

static void pause_run(uint8_t state)
{
    send_rows(state, state == RUN_STOPPED ? run.shown_bytes : 0);
    run.paused = 1;
    serve_until_continue();
    run.paused = 0;
    run.first_row += run.rows;
    run.rows = 0;
}

static void end_row(void)
{
    uint8_t *row = PAYLOAD(answer) + RUN_HEAD_BYTES + run.rows * ROW_BYTES;

    if (run.output == 0)
    {
        return;
    }
    put32(put32(row, run.crc), run.cycles);
    run.rows++;
    run.output = 0;
    if (run.rows == run.rows_max)
    {
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
    for (uint32_t i = 0; stream != NULL && stream->first + i < stream->end; i++)
    {
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
    if (stream == NULL || operator_index < stream->first || operator_index >= stream->end)
    {
        end_stream();
        for (uint32_t i = 0; i < MODEL_STREAM_COUNT; i++)
        {
            if (operator_index >= model_streams[i].first && operator_index < model_streams[i].end)
            {
                end_row();
                memset(streamed, 0, sizeof streamed);
                stream = &model_streams[i];
            }
        }
        if (stream == NULL)
        {
            return 0;
        }
    }
    const uint32_t i = operator_index - stream->first;
    streamed[i].crc = crc32_update(streamed[i].crc, output, bytes);
    streamed[i].cycles += cycles;
    if (operator_index == run.stop_operator && run.stop_output == 0)
    {
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
    if (take_streamed(operator_index, output, bytes, cycles))
    {
        return;
    }
    if (operator_index != run.operator_index)
    {
        end_row();
        run.operator_index = operator_index;
        run.crc = 0;
        run.cycles = 0;
    }
    run.cycles += cycles;
    run.crc = crc32_update(run.crc, output, bytes);
    if (operator_index == run.stop_operator && run.output == run.stop_output)
    {
        stop_at(output, bytes);
    }
    run.output++;
}

/* A model_observer_t. */
static void observe(uint32_t operator_index, const void *output, uint32_t bytes)
{
    const uint32_t spent = cycle_counter_read();

    if (operator_index == CALIBRATION)
    {
        run.overhead = spent;
    }
    else
    {
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
    do
    {
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

static void run_observed(void)
{
    volatile model_observer_t observer = observe;

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

/* The answer holds the cycles of model_invoke beyond those of a function that only returns. */
static void run_plain(void)
{
    const uint32_t overhead = measure(nothing);

    run.first_row = 0;
    run.rows = 0;
#ifdef MODEL_INPUT_ROWS
    uint32_t cycles = 0;
    for (uint32_t row = 0; row < MODEL_INPUT_ROWS; row++)
    {
        await_row();
        cycles += measure(feed_row) - overhead;
    }
    send_rows(RUN_DONE, cycles);
#else
    send_rows(RUN_DONE, measure(model_invoke) - overhead);
#endif
}

/* --- requests --------------------------------------------------------------------------------- */

static void answer_info(void)
{
    uint8_t *out = PAYLOAD(answer);

    *out++ = LINK_PROTOCOL;
    *out++ = (uint8_t)((run.paused ? INFO_PAUSED : 0u) | (MODEL_STATEFUL ? INFO_STATEFUL : 0u));
#ifdef MODEL_INPUT_ROWS
    out[-1] |= INFO_ROW_FED;
#endif
    *out++ = (uint8_t)device->selftest;
    *out++ = (uint8_t)device->clock.source;
    *out++ = (uint8_t)device->counter;
    *out++ = MODEL_INPUT_COUNT;
    *out++ = MODEL_OUTPUT_COUNT;
    *out++ = 0;
    out = put16(out, MODEL_OPERATOR_COUNT);
    out = put16(out, FRAME_PAYLOAD_MAX);
    out = put32(out, device->clock.core_hz);
    out = put32(out, BOARD_MODEL_ID);
    out = put_text(out, BOARD_NAME);
    send_answer((uint32_t)(out - PAYLOAD(answer)));
}

/* The tensor of a direction (0 inputs, 1 outputs) and an index, NULL when there is none. */
static const model_tensor_t *tensor_at(uint32_t direction, uint32_t index)
{
    if (direction == 0)
    {
        return index < MODEL_INPUT_COUNT ? &model_inputs[index] : NULL;
    }
    return direction == 1 && index < MODEL_OUTPUT_COUNT ? &model_outputs[index] : NULL;
}

static uint8_t answer_tensor(const uint8_t *payload, uint32_t bytes)
{
    const model_tensor_t *tensor = bytes == 2 ? tensor_at(payload[0], payload[1]) : NULL;
    uint8_t *out = PAYLOAD(answer);
    uint32_t scale;

    if (tensor == NULL)
    {
        return LINK_ERROR_ARGUMENT;
    }
    memcpy(&scale, &tensor->scale, sizeof scale);
    out = put32(out, tensor->bytes);
    out = put32(out, scale);
    out = put32(out, (uint32_t)tensor->zero_point);
    *out++ = tensor->dtype;
    *out++ = tensor->rank;
    for (uint32_t i = 0; i < tensor->rank; i++)
    {
        out = put32(out, (uint32_t)tensor->shape[i]);
    }
    out = put_text(out, tensor->name);
    send_answer((uint32_t)(out - PAYLOAD(answer)));
    return 0;
}

/* Payload: input, offset (32 bits), bytes. */
static uint8_t take_input(const uint8_t *payload, uint32_t bytes)
{
    const model_tensor_t *tensor = bytes >= 5 ? tensor_at(0, payload[0]) : NULL;

    if (tensor == NULL || get32(payload + 1) > tensor->bytes || bytes - 5u > tensor->bytes - get32(payload + 1))
    {
        return LINK_ERROR_ARGUMENT;
    }
#ifdef MODEL_INPUT_ROWS
    uint8_t *const to = model_input_row();
    const uint32_t room = run.hungry ? MODEL_INPUT_ROW_BYTES : 0;
#else
    uint8_t *const to = tensor->data;
    const uint32_t room = run.paused ? 0 : tensor->bytes;
#endif
    if (get32(payload + 1) + bytes - 5u > room)
    {
        return LINK_ERROR_STATE;
    }
    memcpy(to + get32(payload + 1), payload + 5, bytes - 5u);
    send_answer(0);
    return 0;
}

/* Answers with `count` bytes from `offset` of a block of memory. */
static uint8_t answer_bytes_of(const uint8_t *data, uint32_t size, uint32_t offset, uint32_t count)
{
    if (count > FRAME_PAYLOAD_MAX || offset > size || count > size - offset)
    {
        return LINK_ERROR_ARGUMENT;
    }
    memcpy(PAYLOAD(answer), data + offset, count);
    send_answer(count);
    return 0;
}

/* Payload: output, offset (32 bits), count (16 bits). */
static uint8_t answer_output(const uint8_t *payload, uint32_t bytes)
{
    const model_tensor_t *tensor = bytes == 7 ? tensor_at(1, payload[0]) : NULL;

    if (tensor == NULL)
    {
        return LINK_ERROR_ARGUMENT;
    }
    return answer_bytes_of(tensor->data, tensor->bytes, get32(payload + 1), get16(payload + 5));
}

/* Payload: offset (32 bits), count (16 bits) into the output that a stopped run shows. */
static uint8_t answer_intermediate(const uint8_t *payload, uint32_t bytes)
{
    if (bytes != 6)
    {
        return LINK_ERROR_ARGUMENT;
    }
    if (!run.paused)
    {
        return LINK_ERROR_STATE;
    }
    return answer_bytes_of(run.shown, run.shown_bytes, get32(payload), get16(payload + 4));
}

static uint8_t start_run(const uint8_t *payload, uint32_t bytes)
{
    if (bytes != RUN_REQUEST_BYTES || payload[1] == 0 || payload[1] > ROWS_MAX)
    {
        return LINK_ERROR_ARGUMENT;
    }
    if (run.paused)
    {
        return LINK_ERROR_STATE;
    }
    run.rows_max = payload[1];
    run.stop_operator = get16(payload + 2);
    run.stop_output = payload[4];
    if (payload[0] & RUN_OBSERVED)
    {
        run_observed();
    }
    else
    {
        run_plain();
    }
    return 0;
}

static uint8_t answer_stack(void)
{
    put32(put32(PAYLOAD(answer), stack_used()), stack_size());
    send_answer(8);
    return 0;
}

static uint8_t reset_state(void)
{
    if (run.paused)
    {
        return LINK_ERROR_STATE;
    }
    model_reset();
    send_answer(0);
    return 0;
}

static uint8_t leave(const uint8_t *payload, uint32_t bytes)
{
    if (bytes != 1)
    {
        return LINK_ERROR_ARGUMENT;
    }
    send_answer(0);
    emulation_done(payload[0]);
}

/* Carries the request out and answers it; returns the error where it cannot. */
static uint8_t handle(void)
{
    const uint8_t *payload = PAYLOAD(request.bytes);
    const uint32_t bytes = request.length - FRAME_HEADER_BYTES;

    switch (request.bytes[0])
    {
    case LINK_INFO:
        answer_info();
        return 0;
    case LINK_TENSOR:
        return answer_tensor(payload, bytes);
    case LINK_INPUT:
        return take_input(payload, bytes);
    case LINK_RUN:
        return start_run(payload, bytes);
    case LINK_CONTINUE:
        return LINK_ERROR_STATE;
    case LINK_OUTPUT:
        return answer_output(payload, bytes);
    case LINK_INTERMEDIATE:
        return answer_intermediate(payload, bytes);
    case LINK_STACK:
        return answer_stack();
    case LINK_RESET:
        return reset_state();
    case LINK_EXIT:
        return leave(payload, bytes);
    default:
        return LINK_ERROR_UNKNOWN;
    }
}

static void serve_until_continue(void)
{
    for (;;)
    {
        receive_request();
        if (run.paused && request.bytes[0] == LINK_CONTINUE)
        {
            return;
        }
        const uint8_t error = handle();
        if (error != 0)
        {
            send_error(error);
        }
    }
}

void link_serve(const link_device_t *described)
{
    uint8_t ready[FRAME_HEADER_BYTES + FRAME_CRC_BYTES] = {LINK_READY, 0};

    device = described;
    frame_send(ready, FRAME_HEADER_BYTES, uart_send);
    serve_until_continue(); /* nothing is paused, so it never returns */
    emulation_done(1);
}
