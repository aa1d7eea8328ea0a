/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames on a serial line, as docs/link-protocol.md describes them:
 *
 *   0x00  COBS( type, sequence, payload[0..256], CRC-32 little-endian )  0x00
 *
 * COBS (Cheshire and Baker, 1999) removes every zero byte, so a zero always ends a frame: after any
 * noise the next frame is received again. This file knows no hardware and no protocol.
 */
#ifndef FRAME_H
#define FRAME_H

#include <stdint.h>

#define FRAME_HEADER_BYTES 2u
#define FRAME_PAYLOAD_MAX 256u
#define FRAME_CRC_BYTES 4u
#define FRAME_BYTES_MAX (FRAME_HEADER_BYTES + FRAME_PAYLOAD_MAX + FRAME_CRC_BYTES)

typedef enum {
    FRAME_INCOMPLETE, /* more bytes are needed */
    FRAME_READY,      /* a frame is in `bytes`, its CRC right; `length` counts without the CRC */
    FRAME_CORRUPT,    /* a frame ended that is too short, breaks COBS or has a wrong CRC */
    FRAME_OVERSIZED   /* a frame ended that is longer than the buffer */
} frame_status_t;

/* Starts as all zeros. */
typedef struct {
    uint8_t bytes[FRAME_BYTES_MAX];
    uint16_t length;   /* decoded bytes, capped at FRAME_BYTES_MAX */
    uint8_t code;      /* length code of the current COBS block, 0 before the first */
    uint8_t remaining; /* bytes of the block that are still to come */
    uint8_t oversized; /* bytes had to be dropped */
    uint8_t done;      /* the last call ended a frame */
} frame_decoder_t;

/* Takes one received byte. `bytes` and `length` are valid until the next call. */
frame_status_t frame_decode(frame_decoder_t *decoder, uint8_t byte);

/* Writes the CRC behind `length` bytes of header and payload, and sends it all through `send`.
 * `frame` has room for FRAME_CRC_BYTES more. */
void frame_send(uint8_t *frame, uint32_t length, void (*send)(uint8_t byte));

/* The CRC-32 of a decoded frame: equal for a repeated frame, and practically for no other. */
uint32_t frame_crc(const frame_decoder_t *decoder);

#endif
