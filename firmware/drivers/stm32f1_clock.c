/* SPDX-License-Identifier: Apache-2.0
 *
 * STM32F1: the external clock through the PLL (RM0008, chapter RCC). APB1 runs at half the clock.
 *
 * BOARD_CLOCK_HSE_BYPASS    1: a clock is fed into OSC_IN; 0: a crystal
 * BOARD_CLOCK_PLL_MULTIPLIER  core = HSE * this
 * BOARD_CLOCK_WAIT_STATES   of the flash
 */
#include "board_config.h"
#include "clock.h"
#include "registers.h"

#define RCC_CR 0x40021000u
#define RCC_CFGR 0x40021004u
#define FLASH_ACR 0x40022000u

#define CR_HSEON (1u << 16)
#define CR_HSERDY (1u << 17)
#define CR_HSEBYP (1u << 18)
#define CR_PLLON (1u << 24)
#define CR_PLLRDY (1u << 25)
#define CFGR_PLL_FROM_HSE (1u << 16)
#define CFGR_PPRE1_2 (4u << 8)
#define CFGR_SW_PLL 2u
#define CFGR_SWS_MASK (3u << 2)
#define CFGR_SWS_PLL (2u << 2)
#define ACR_PREFETCH (1u << 4)

#define POLLS 100000u

static int start_pll(void)
{
    REGISTER(RCC_CR) |= BOARD_CLOCK_HSE_BYPASS ? CR_HSEBYP : 0u;
    REGISTER(RCC_CR) |= CR_HSEON;
    if (!register_wait(RCC_CR, CR_HSERDY, CR_HSERDY, POLLS)) {
        return 0;
    }
    REGISTER(RCC_CFGR) = CFGR_PLL_FROM_HSE | ((BOARD_CLOCK_PLL_MULTIPLIER - 2u) << 18) | CFGR_PPRE1_2;
    REGISTER(RCC_CR) |= CR_PLLON;
    return register_wait(RCC_CR, CR_PLLRDY, CR_PLLRDY, POLLS);
}

clock_state_t clock_start(void)
{
    clock_state_t state = {BOARD_CLOCK_FALLBACK_HZ, BOARD_CLOCK_FALLBACK_HZ, CLOCK_FALLBACK};

    if (start_pll()) {
        REGISTER(FLASH_ACR) = ACR_PREFETCH | BOARD_CLOCK_WAIT_STATES;
        (void)REGISTER(FLASH_ACR); /* the wait states must hold before the clock rises */
        REGISTER(RCC_CFGR) |= CFGR_SW_PLL;
        if (register_wait(RCC_CFGR, CFGR_SWS_MASK, CFGR_SWS_PLL, POLLS)) {
            state.core_hz = BOARD_CLOCK_HZ;
            state.uart_hz = BOARD_CLOCK_HZ / 2u;
            state.source = CLOCK_CONFIGURED;
            return state;
        }
    }
    REGISTER(RCC_CFGR) = 0;
    REGISTER(RCC_CR) &= ~CR_PLLON;
    return state;
}
