/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#include <string.h>

#include "board_config.h"
#include "exchange.h"
#include "fault.h"
#include "model.h"
#include "run.h"
#include "stack.h"
#include "uart.h"

#define RUN_OBSERVED 1u
#define RUN_REQUEST_BYTES 5u /* flags, rows an answer, operator to stop at (16 bits), its output */

#define INFO_PAUSED 1u
#define INFO_STATEFUL 2u
#define INFO_ROW_FED 4u
#define NAME_BYTES_MAX 64u

static const link_device_t *device;

static uint8_t *put_text(uint8_t *to, const char *text)
{
    uint32_t bytes = 0;

    while (bytes < NAME_BYTES_MAX && text[bytes] != '\0') {
        *to++ = (uint8_t)text[bytes++];
    }
    return to;
}

static void answer_info(void)
{
    uint8_t *out = exchange_answer();

    *out++ = LINK_PROTOCOL;
    *out++ = (uint8_t)((run_is_paused() ? INFO_PAUSED : 0u) | (MODEL_STATEFUL ? INFO_STATEFUL : 0u));
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
    exchange_send((uint32_t)(out - exchange_answer()));
}

/* The tensor of a direction (0 inputs, 1 outputs) and an index, NULL when there is none. */
static const model_tensor_t *tensor_at(uint32_t direction, uint32_t index)
{
    if (direction == 0) {
        return index < MODEL_INPUT_COUNT ? &model_inputs[index] : NULL;
    }
    return direction == 1 && index < MODEL_OUTPUT_COUNT ? &model_outputs[index] : NULL;
}

static uint8_t answer_tensor(const uint8_t *payload, uint32_t bytes)
{
    const model_tensor_t *tensor = bytes == 2 ? tensor_at(payload[0], payload[1]) : NULL;
    uint8_t *out = exchange_answer();
    uint32_t scale;

    if (tensor == NULL) {
        return LINK_ERROR_ARGUMENT;
    }
    memcpy(&scale, &tensor->scale, sizeof scale);
    out = put32(out, tensor->bytes);
    out = put32(out, scale);
    out = put32(out, (uint32_t)tensor->zero_point);
    *out++ = tensor->dtype;
    *out++ = tensor->rank;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        out = put32(out, (uint32_t)tensor->shape[i]);
    }
    out = put_text(out, tensor->name);
    exchange_send((uint32_t)(out - exchange_answer()));
    return 0;
}

/* Payload: input, offset (32 bits), bytes. */
static uint8_t take_input(const uint8_t *payload, uint32_t bytes)
{
    const model_tensor_t *tensor = bytes >= 5 ? tensor_at(0, payload[0]) : NULL;

    if (tensor == NULL || get32(payload + 1) > tensor->bytes || bytes - 5u > tensor->bytes - get32(payload + 1)) {
        return LINK_ERROR_ARGUMENT;
    }
#ifdef MODEL_INPUT_ROWS
    uint8_t *const to = model_input_row();
    const uint32_t room = run_is_hungry() ? MODEL_INPUT_ROW_BYTES : 0;
#else
    uint8_t *const to = tensor->data;
    const uint32_t room = run_is_paused() ? 0 : tensor->bytes;
#endif
    if (get32(payload + 1) + bytes - 5u > room) {
        return LINK_ERROR_STATE;
    }
    memcpy(to + get32(payload + 1), payload + 5, bytes - 5u);
    exchange_send(0);
    return 0;
}

/* Answers with `count` bytes from `offset` of a block of memory. */
static uint8_t answer_bytes_of(const uint8_t *data, uint32_t size, uint32_t offset, uint32_t count)
{
    if (count > FRAME_PAYLOAD_MAX || offset > size || count > size - offset) {
        return LINK_ERROR_ARGUMENT;
    }
    memcpy(exchange_answer(), data + offset, count);
    exchange_send(count);
    return 0;
}

/* Payload: output, offset (32 bits), count (16 bits). */
static uint8_t answer_output(const uint8_t *payload, uint32_t bytes)
{
    const model_tensor_t *tensor = bytes == 7 ? tensor_at(1, payload[0]) : NULL;

    if (tensor == NULL) {
        return LINK_ERROR_ARGUMENT;
    }
    return answer_bytes_of(tensor->data, tensor->bytes, get32(payload + 1), get16(payload + 5));
}

/* Payload: offset (32 bits), count (16 bits) into the output that a stopped run shows. */
static uint8_t answer_intermediate(const uint8_t *payload, uint32_t bytes)
{
    if (bytes != 6) {
        return LINK_ERROR_ARGUMENT;
    }
    if (!run_is_paused()) {
        return LINK_ERROR_STATE;
    }
    uint32_t shown_bytes;
    const uint8_t *shown = run_shown(&shown_bytes);
    return answer_bytes_of(shown, shown_bytes, get32(payload), get16(payload + 4));
}

static uint8_t start_run(const uint8_t *payload, uint32_t bytes)
{
    if (bytes != RUN_REQUEST_BYTES || payload[1] == 0 || payload[1] > RUN_ROWS_MAX) {
        return LINK_ERROR_ARGUMENT;
    }
    if (run_is_paused()) {
        return LINK_ERROR_STATE;
    }
    const run_request_t wanted = {payload[1], get16(payload + 2), payload[4]};
    if (payload[0] & RUN_OBSERVED) {
        run_observed(&wanted);
    } else {
        run_plain();
    }
    return 0;
}

static uint8_t answer_stack(void)
{
    put32(put32(exchange_answer(), stack_used()), stack_size());
    exchange_send(8);
    return 0;
}

static uint8_t reset_state(void)
{
    if (run_is_paused()) {
        return LINK_ERROR_STATE;
    }
    model_reset();
    exchange_send(0);
    return 0;
}

static uint8_t leave(const uint8_t *payload, uint32_t bytes)
{
    if (bytes != 1) {
        return LINK_ERROR_ARGUMENT;
    }
    exchange_send(0);
    emulation_done(payload[0]);
}

/* Carries the request out and answers it; returns the error where it cannot. */
static uint8_t handle(void)
{
    uint32_t bytes;
    const uint8_t *payload = exchange_payload(&bytes);

    switch (exchange_type()) {
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

void run_serve(void)
{
    for (;;) {
        exchange_receive();
        if (run_is_paused() && exchange_type() == LINK_CONTINUE) {
            return;
        }
        const uint8_t error = handle();
        if (error != 0) {
            exchange_send_error(error);
        }
    }
}

void link_serve(const link_device_t *described)
{
    uint8_t ready[FRAME_HEADER_BYTES + FRAME_CRC_BYTES] = {LINK_READY, 0};

    device = described;
    frame_send(ready, FRAME_HEADER_BYTES, uart_send);
    run_serve(); /* nothing is paused, so it never returns */
    emulation_done(1);
}
