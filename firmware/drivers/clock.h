/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

typedef enum {
    CLOCK_FALLBACK = 0,  /* the oscillator that the part starts with: the configured one failed */
    CLOCK_CONFIGURED = 1 /* what the board's file asks for */
} clock_source_t;

/* What the clock driver reached. */
typedef struct {
    uint32_t core_hz;
    uint32_t uart_hz; /* the clock that feeds the board's UART */
    clock_source_t source;
} clock_state_t;

/* Sets the board's clock. Never hangs: an oscillator or PLL that does not come up leaves the part
 * on the clock that it started with, and the result says so. */
clock_state_t clock_start(void);

#endif
