/* SPDX-License-Identifier: Apache-2.0
 *
 * A 32-bit counter of core cycles: DWT's CYCCNT where the core has one that counts, else SysTick
 * extended by its interrupt.
 */
#ifndef CYCLE_COUNTER_H
#define CYCLE_COUNTER_H

#include <stdint.h>

typedef enum
{
    CYCLE_COUNTER_DWT = 1,
    CYCLE_COUNTER_SYSTICK = 2
} cycle_counter_kind_t;

cycle_counter_kind_t cycle_counter_start(void);

/* Wraps at 2^32; the difference of two reads is right for up to 2^32 - 1 cycles. */
uint32_t cycle_counter_read(void);

#endif
