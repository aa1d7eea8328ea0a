/* SPDX-License-Identifier: Apache-2.0
 *
 * STM32U5 with TrustZone off: the internal 16 MHz oscillator through PLL1 (RM0456, chapters PWR, RCC
 * and ICACHE). The APB buses run at the core's clock.
 *
 * BOARD_CLOCK_PLL_M, _N, _R  VCO = 16 MHz / M * N, core = VCO / R; 16 MHz / M is 8 to 16 MHz
 * BOARD_CLOCK_WAIT_STATES    of the flash
 */
#include "board_config.h"
#include "clock.h"
#include "registers.h"

#define RCC_CR 0x46020C00u
#define RCC_CFGR1 0x46020C1Cu
#define RCC_PLL1CFGR 0x46020C28u
#define RCC_PLL1DIVR 0x46020C34u
#define RCC_AHB3ENR 0x46020C94u
#define PWR_VOSR 0x4602080Cu
#define FLASH_ACR 0x40022000u
#define ICACHE_CR 0x40030400u

#define CR_HSION (1u << 8)
#define CR_HSIRDY (1u << 10)
#define CR_PLL1ON (1u << 24)
#define CR_PLL1RDY (1u << 25)
#define CFGR1_SW_PLL1 3u
#define CFGR1_SWS_MASK (3u << 2)
#define CFGR1_SWS_PLL1 (3u << 2)
#define PLL1CFGR_SRC_HSI 2u
#define PLL1CFGR_RGE_8_16_MHZ (3u << 2)
#define PLL1CFGR_REN (1u << 18)
#define AHB3ENR_PWREN (1u << 2)
#define VOSR_RANGE_1 (3u << 16)
#define VOSR_BOOSTEN (1u << 18)
#define VOSR_BOOSTRDY (1u << 14)
#define VOSR_VOSRDY (1u << 15)
#define ACR_PREFETCH (1u << 8)
#define ICACHE_ENABLE 1u

#define POLLS 100000u

static int start_pll(void)
{
    REGISTER(RCC_CR) |= CR_HSION;
    if (!register_wait(RCC_CR, CR_HSIRDY, CR_HSIRDY, POLLS)) {
        return 0;
    }
    /* The booster takes its clock from the PLL's input: that comes first. */
    REGISTER(RCC_PLL1CFGR) = PLL1CFGR_SRC_HSI | PLL1CFGR_RGE_8_16_MHZ | ((BOARD_CLOCK_PLL_M - 1u) << 8) | PLL1CFGR_REN;
    REGISTER(RCC_AHB3ENR) |= AHB3ENR_PWREN;
    (void)REGISTER(RCC_AHB3ENR);
    REGISTER(PWR_VOSR) = VOSR_RANGE_1;
    if (!register_wait(PWR_VOSR, VOSR_VOSRDY, VOSR_VOSRDY, POLLS)) {
        return 0;
    }
    REGISTER(PWR_VOSR) = VOSR_RANGE_1 | VOSR_BOOSTEN;
    if (!register_wait(PWR_VOSR, VOSR_BOOSTRDY, VOSR_BOOSTRDY, POLLS)) {
        return 0;
    }
    REGISTER(RCC_PLL1DIVR) = (BOARD_CLOCK_PLL_N - 1u) | (1u << 9) | (1u << 16) | ((BOARD_CLOCK_PLL_R - 1u) << 24);
    REGISTER(RCC_CR) |= CR_PLL1ON;
    return register_wait(RCC_CR, CR_PLL1RDY, CR_PLL1RDY, POLLS);
}

clock_state_t clock_start(void)
{
    clock_state_t state = {BOARD_CLOCK_FALLBACK_HZ, BOARD_CLOCK_FALLBACK_HZ, CLOCK_FALLBACK};

    REGISTER(ICACHE_CR) |= ICACHE_ENABLE;
    if (!start_pll()) {
        REGISTER(RCC_CR) &= ~CR_PLL1ON;
        return state;
    }
    REGISTER(FLASH_ACR) = ACR_PREFETCH | BOARD_CLOCK_WAIT_STATES;
    (void)REGISTER(FLASH_ACR); /* the wait states must hold before the clock rises */
    REGISTER(RCC_CFGR1) = CFGR1_SW_PLL1;
    if (!register_wait(RCC_CFGR1, CFGR1_SWS_MASK, CFGR1_SWS_PLL1, POLLS)) {
        REGISTER(RCC_CFGR1) = 0;
        return state;
    }
    state.core_hz = BOARD_CLOCK_HZ;
    state.uart_hz = BOARD_CLOCK_HZ;
    state.source = CLOCK_CONFIGURED;
    return state;
}
