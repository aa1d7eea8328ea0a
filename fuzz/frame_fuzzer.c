/* SPDX-License-Identifier: Apache-2.0
 *
 * The firmware's frame decoder under libFuzzer and sanitizers, compiled for the host:
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Ifirmware/runtime
 *         fuzz/frame_fuzzer.c firmware/runtime/frame.c firmware/runtime/crc32.c -o frame_fuzzer
 *
 * Whatever it accepts is sent again and must come back the same; nothing may be read or written
 * outside of the decoder.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"

#define SENT_MAX (2u * FRAME_BYTES_MAX + 16u)

static uint8_t sent[SENT_MAX];
static uint32_t sent_bytes;

static void keep(uint8_t byte)
{
    if (sent_bytes >= SENT_MAX) {
        abort();
    }
    sent[sent_bytes++] = byte;
}

static void check_it_comes_back(const frame_decoder_t *received)
{
    static uint8_t frame[FRAME_BYTES_MAX];
    frame_decoder_t again;
    uint32_t ready = 0;

    memset(&again, 0, sizeof again);
    memcpy(frame, received->bytes, received->length);
    sent_bytes = 0;
    frame_send(frame, received->length, keep);
    for (uint32_t i = 0; i < sent_bytes; i++) {
        if (frame_decode(&again, sent[i]) == FRAME_READY) {
            ready++;
            if (again.length != received->length || memcmp(again.bytes, received->bytes, again.length) != 0) {
                abort();
            }
        }
    }
    if (ready != 1) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* On the heap, so that the address sanitizer guards both its ends. */
    frame_decoder_t *decoder = calloc(1, sizeof *decoder);

    for (size_t i = 0; i < size; i++) {
        const frame_status_t status = frame_decode(decoder, data[i]);
        if (decoder->length > FRAME_BYTES_MAX || (status != FRAME_INCOMPLETE && data[i] != 0)) {
            abort();
        }
        if (status == FRAME_READY) {
            check_it_comes_back(decoder);
        }
    }
    free(decoder);
    return 0;
}
