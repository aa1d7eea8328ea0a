/* SPDX-License-Identifier: Apache-2.0
 *
 * nRF52: the core always runs at 64 MHz; the crystal makes it exact (nRF52840 Product Specification,
 * chapter CLOCK). The flash's instruction cache is turned on (chapter NVMC).
 */
#include "board_config.h"
#include "clock.h"
#include "registers.h"

#define CLOCK_TASKS_HFCLKSTART 0x40000000u
#define CLOCK_EVENTS_HFCLKSTARTED 0x40000100u
#define NVMC_ICACHECNF 0x4001E540u
#define ICACHECNF_CACHEEN 1u

#define POLLS 100000u

clock_state_t clock_start(void)
{
    clock_state_t state = {BOARD_CLOCK_FALLBACK_HZ, BOARD_CLOCK_FALLBACK_HZ, CLOCK_FALLBACK};

    REGISTER(NVMC_ICACHECNF) |= ICACHECNF_CACHEEN;
    REGISTER(CLOCK_EVENTS_HFCLKSTARTED) = 0;
    REGISTER(CLOCK_TASKS_HFCLKSTART) = 1;
    if (register_wait(CLOCK_EVENTS_HFCLKSTARTED, 1, 1, POLLS)) {
        state.core_hz = BOARD_CLOCK_HZ;
        state.uart_hz = BOARD_CLOCK_HZ;
        state.source = CLOCK_CONFIGURED;
    }
    return state;
}
