/* SPDX-License-Identifier: Apache-2.0
 *
 * The serial link: a host asks, the firmware answers. docs/link-protocol.md is its specification.
 */
#ifndef LINK_H
#define LINK_H

#include <stdint.h>

#include "clock.h"
#include "cycle_counter.h"

#define LINK_PROTOCOL 1u

/* Requests; an answer carries the request's type with LINK_ANSWER set, and its sequence number. */
enum {
    LINK_INFO = 0x01,
    LINK_TENSOR = 0x02,
    LINK_INPUT = 0x03,
    LINK_RUN = 0x04,
    LINK_CONTINUE = 0x05,
    LINK_OUTPUT = 0x06,
    LINK_INTERMEDIATE = 0x07,
    LINK_STACK = 0x08,
    LINK_RESET = 0x09,
    LINK_EXIT = 0x0A,
    LINK_ANSWER = 0x80,
    LINK_READY = 0xF0, /* unasked, after start-up */
    LINK_FAULT = 0xF1, /* unasked, last */
    LINK_ERROR = 0xF2  /* payload: one of the codes below */
};

enum {
    LINK_ERROR_CORRUPT = 1,   /* CRC or COBS wrong: send it again */
    LINK_ERROR_OVERSIZED = 2, /* longer than FRAME_BYTES_MAX */
    LINK_ERROR_UNKNOWN = 3,   /* no such request */
    LINK_ERROR_ARGUMENT = 4,  /* payload of the wrong length, or an index or range outside */
    LINK_ERROR_STATE = 5      /* not while an inference is (or is not) paused */
};

typedef enum {
    SELFTEST_ABSENT = 0,
    SELFTEST_PASSED = 1,
    SELFTEST_FAILED = 2
} selftest_result_t;

/* What INFO reports besides the model. */
typedef struct {
    clock_state_t clock;
    cycle_counter_kind_t counter;
    selftest_result_t selftest;
} link_device_t;

/* Says READY and answers requests until EXIT, which ends in emulation_done(). */
void link_serve(const link_device_t *device) __attribute__((noreturn));

#endif
