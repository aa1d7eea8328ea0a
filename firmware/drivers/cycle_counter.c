/* SPDX-License-Identifier: Apache-2.0
 *
 * Registers: Armv7-M Architecture Reference Manual (DDI 0403E), B3.3 SysTick, C1.6 DEMCR, C1.8 DWT.
 * Some parts and emulators have a DWT that does not count, so it is tried before it is trusted.
 */
#include "cycle_counter.h"

#include "registers.h"

#define DEMCR 0xE000EDFCu
#define DEMCR_TRCENA (1u << 24)
#define DWT_CTRL 0xE0001000u
#define DWT_CTRL_CYCCNTENA 1u
#define DWT_CYCCNT 0xE0001004u
#define SYST_CSR 0xE000E010u
#define SYST_CSR_ENABLE_INTERRUPT_CORE_CLOCK 7u
#define SYST_RVR 0xE000E014u
#define SYST_CVR 0xE000E018u
#define SYST_MAX 0x00FFFFFFu

/* Times that SysTick has wrapped since the restart. */
volatile uint32_t cycle_counter_wraps;

static cycle_counter_kind_t kind;
static uint32_t dwt_restart; /* CYCCNT when the count began: not every emulator lets it be written */

void SysTick_Handler(void)
{
    cycle_counter_wraps++;
}

#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)

static int dwt_counts(void)
{
    return 0;
}

#else

static int dwt_counts(void)
{
    REGISTER(DEMCR) |= DEMCR_TRCENA;
    REGISTER(DWT_CTRL) |= DWT_CTRL_CYCCNTENA;
    const uint32_t first = REGISTER(DWT_CYCCNT);
    return REGISTER(DWT_CYCCNT) != first;
}

#endif

cycle_counter_kind_t cycle_counter_start(void)
{
    kind = CYCLE_COUNTER_DWT;
    if (!dwt_counts()) {
        kind = CYCLE_COUNTER_SYSTICK;
        REGISTER(SYST_RVR) = SYST_MAX;
        REGISTER(SYST_CVR) = 0;
        REGISTER(SYST_CSR) = SYST_CSR_ENABLE_INTERRUPT_CORE_CLOCK;
    }
    return kind;
}

__attribute__((noinline)) void cycle_counter_restart(void)
{
    if (kind == CYCLE_COUNTER_DWT) {
        dwt_restart = REGISTER(DWT_CYCCNT);
        return;
    }
    REGISTER(SYST_CVR) = 0;
    __asm volatile("dsb\n isb" ::: "memory"); /* an interrupt that was pending comes here */
    cycle_counter_wraps = 0;
}

static uint32_t systick_read(void)
{
    uint32_t wraps, low;

    /* The barrier lets a wrap's interrupt come before the second look at `wraps`. */
    do {
        wraps = cycle_counter_wraps;
        low = SYST_MAX - (REGISTER(SYST_CVR) & SYST_MAX);
        __asm volatile("isb" ::: "memory");
    } while (wraps != cycle_counter_wraps);
    return (wraps << 24) + low;
}

__attribute__((noinline)) uint32_t cycle_counter_read(void)
{
    return kind == CYCLE_COUNTER_DWT ? REGISTER(DWT_CYCCNT) - dwt_restart : systick_read();
}
