/* SPDX-License-Identifier: Apache-2.0
 *
 * One request at a time, and its answer. The last answer is kept: a request that comes again, byte for
 * byte, because its answer was lost on the way, gets that answer again and is not seen by the caller.
 * A frame that cannot be read is answered with an error that leaves the kept answer as it is.
 */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include <stdint.h>

#include "frame.h"

/* The request in work: its type, and its payload with the payload's length. */
uint8_t exchange_type(void);
const uint8_t *exchange_payload(uint32_t *bytes);

/* Waits for a request that was not answered yet. */
void exchange_receive(void);

/* The kept answer: type, sequence, payload. Visible for debuggers and emulators, which find in it what
 * a run counted. */
extern uint8_t exchange_last[FRAME_BYTES_MAX];

/* Where the payload of the answer is put together: FRAME_PAYLOAD_MAX bytes. It holds the kept answer
 * until then, so a caller fills it only when the answer is sure to be sent. */
uint8_t *exchange_answer(void);

void exchange_send(uint32_t payload_bytes);
void exchange_send_error(uint8_t code);

/* Little-endian figures; `put` returns what follows. */
static inline uint32_t get16(const uint8_t *from)
{
    return from[0] | ((uint32_t)from[1] << 8);
}

static inline uint32_t get32(const uint8_t *from)
{
    return get16(from) | (get16(from + 2) << 16);
}

static inline uint8_t *put16(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
    return to + 2;
}

static inline uint8_t *put32(uint8_t *to, uint32_t value)
{
    return put16(put16(to, value), value >> 16);
}

#endif
