/* SPDX-License-Identifier: Apache-2.0
 *
 * COBS in words: the decoded bytes are cut at every zero into blocks of at most 254 bytes; each is
 * sent as a length code (bytes + 1) and its bytes. A code below 255 stands for a zero behind the
 * block, the last block excepted.
 */
#include "frame.h"

#include "crc32.h"

#define BLOCK_CODE_MAX 0xFFu

static uint32_t little_endian(const uint8_t *bytes)
{
    return bytes[0] | ((uint32_t)bytes[1] << 8) | ((uint32_t)bytes[2] << 16) | ((uint32_t)bytes[3] << 24);
}

static void append(frame_decoder_t *decoder, uint8_t byte)
{
    if (decoder->length < FRAME_BYTES_MAX) {
        decoder->bytes[decoder->length++] = byte;
    } else {
        decoder->oversized = 1;
    }
}

static frame_status_t end_of_frame(frame_decoder_t *decoder)
{
    decoder->done = 1;
    if (decoder->code == 0) {
        return FRAME_INCOMPLETE; /* two delimiters in a row */
    }
    if (decoder->oversized) {
        return FRAME_OVERSIZED;
    }
    if (decoder->remaining != 0 || decoder->length < FRAME_HEADER_BYTES + FRAME_CRC_BYTES) {
        return FRAME_CORRUPT;
    }
    decoder->length = (uint16_t)(decoder->length - FRAME_CRC_BYTES);
    if (crc32_update(0, decoder->bytes, decoder->length) != frame_crc(decoder)) {
        return FRAME_CORRUPT;
    }
    return FRAME_READY;
}

frame_status_t frame_decode(frame_decoder_t *decoder, uint8_t byte)
{
    if (decoder->done) {
        decoder->done = 0;
        decoder->length = 0;
        decoder->code = 0;
        decoder->remaining = 0;
        decoder->oversized = 0;
    }
    if (byte == 0) {
        return end_of_frame(decoder);
    }
    if (decoder->remaining > 0) {
        decoder->remaining--;
        append(decoder, byte);
        return FRAME_INCOMPLETE;
    }
    if (decoder->code != 0 && decoder->code != BLOCK_CODE_MAX) {
        append(decoder, 0);
    }
    decoder->code = byte;
    decoder->remaining = (uint8_t)(byte - 1u);
    return FRAME_INCOMPLETE;
}

uint32_t frame_crc(const frame_decoder_t *decoder)
{
    return little_endian(decoder->bytes + decoder->length);
}

void frame_send(uint8_t *frame, uint32_t length, void (*send)(uint8_t byte))
{
    const uint32_t crc = crc32_update(0, frame, length);
    uint32_t start = 0;

    for (uint32_t i = 0; i < FRAME_CRC_BYTES; i++) {
        frame[length++] = (uint8_t)(crc >> (8u * i));
    }
    send(0);
    for (;;) {
        uint32_t bytes = 0;
        while (start + bytes < length && frame[start + bytes] != 0 && bytes + 1u < BLOCK_CODE_MAX) {
            bytes++;
        }
        send((uint8_t)(bytes + 1u));
        for (uint32_t i = 0; i < bytes; i++) {
            send(frame[start + i]);
        }
        start += bytes;
        if (start >= length) {
            break;
        }
        if (bytes + 1u < BLOCK_CODE_MAX) {
            start++; /* the zero that the code stands for; behind it there may be nothing left */
        }
    }
    send(0);
}
