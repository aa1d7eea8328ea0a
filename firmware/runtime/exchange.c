/* SPDX-License-Identifier: Apache-2.0 */
#include "exchange.h"

#include "link.h"
#include "uart.h"

#define PAYLOAD(frame) ((frame) + FRAME_HEADER_BYTES)

static frame_decoder_t request;
uint8_t exchange_last[FRAME_BYTES_MAX];
static uint32_t answer_bytes; /* header and payload; 0 while nothing was answered */
static uint32_t answered_crc; /* of the request that the kept answer belongs to */

uint8_t exchange_type(void)
{
    return request.bytes[0];
}

const uint8_t *exchange_payload(uint32_t *bytes)
{
    *bytes = request.length - FRAME_HEADER_BYTES;
    return PAYLOAD(request.bytes);
}

uint8_t *exchange_answer(void)
{
    return PAYLOAD(exchange_last);
}

void exchange_send(uint32_t payload_bytes)
{
    exchange_last[0] = (uint8_t)(request.bytes[0] | LINK_ANSWER);
    exchange_last[1] = request.bytes[1];
    answer_bytes = FRAME_HEADER_BYTES + payload_bytes;
    answered_crc = frame_crc(&request);
    frame_send(exchange_last, answer_bytes, uart_send);
}

void exchange_send_error(uint8_t code)
{
    exchange_last[0] = LINK_ERROR;
    exchange_last[1] = request.bytes[1];
    PAYLOAD(exchange_last)[0] = code;
    answer_bytes = FRAME_HEADER_BYTES + 1u;
    answered_crc = frame_crc(&request);
    frame_send(exchange_last, answer_bytes, uart_send);
}

static void send_unreadable(uint8_t code)
{
    uint8_t message[FRAME_HEADER_BYTES + 1u + FRAME_CRC_BYTES] = {LINK_ERROR, 0, code};

    frame_send(message, FRAME_HEADER_BYTES + 1u, uart_send);
}

void exchange_receive(void)
{
    for (;;) {
        switch (frame_decode(&request, uart_receive())) {
        case FRAME_READY:
            if (answer_bytes == 0 || frame_crc(&request) != answered_crc) {
                return;
            }
            frame_send(exchange_last, answer_bytes, uart_send);
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
