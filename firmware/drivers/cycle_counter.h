/* SPDX-License-Identifier: Apache-2.0
 *
 * A 32-bit counter of core cycles: DWT's CYCCNT where the core has one that counts, else SysTick
 * extended by its interrupt.
 */
#ifndef CYCLE_COUNTER_H
#define CYCLE_COUNTER_H

#include <stdint.h>

typedef enum {
    CYCLE_COUNTER_DWT = 1,
    CYCLE_COUNTER_SYSTICK = 2
} cycle_counter_kind_t;

cycle_counter_kind_t cycle_counter_start(void);

/* Counts from zero again. SysTick's interrupt then comes only in what takes longer than 2^24 cycles. */
void cycle_counter_restart(void);

/* Cycles since the restart, up to 2^32 - 1. */
uint32_t cycle_counter_read(void);

#endif
