/* SPDX-License-Identifier: Apache-2.0
 *
 * STM32L4, L4+ and G4: the internal 16 MHz oscillator through the PLL (RM0351, RM0432, RM0440,
 * chapters PWR and RCC). The APB buses run at the core's clock.
 *
 * BOARD_CLOCK_PLL_M, _N, _R  VCO = 16 MHz / M * N, core = VCO / R
 * BOARD_CLOCK_BOOST          1: the core's voltage must be raised (L4+ above 80 MHz, G4 above 150 MHz)
 * BOARD_CLOCK_WAIT_STATES    of the flash
 * BOARD_CLOCK_VDDIO2         1: the UART's pins hang on the second I/O supply (port G)
 */
#include "board_config.h"
#include "clock.h"
#include "registers.h"

#define RCC_CR 0x40021000u
#define RCC_CFGR 0x40021008u
#define RCC_PLLCFGR 0x4002100Cu
#define RCC_APB1ENR1 0x40021058u
#define PWR_CR2 0x40007004u
#define PWR_CR5 0x40007080u
#define FLASH_ACR 0x40022000u

#define CR_HSION (1u << 8)
#define CR_HSIRDY (1u << 10)
#define CR_PLLON (1u << 24)
#define CR_PLLRDY (1u << 25)
#define PLLCFGR_SRC_HSI 2u
#define PLLCFGR_REN (1u << 24)
#define CFGR_SW_PLL 3u
#define CFGR_SWS_MASK (3u << 2)
#define CFGR_SWS_PLL (3u << 2)
#define CFGR_HPRE_2 (8u << 4)
#define APB1ENR1_PWREN (1u << 28)
#define PWR_CR2_IOSV (1u << 9)
#define PWR_CR5_R1MODE (1u << 8) /* 1: no boost */
#define ACR_LATENCY 15u
#define ACR_PREFETCH_AND_CACHES (7u << 8)

#define POLLS 100000u

static void prepare_power(void)
{
    REGISTER(RCC_APB1ENR1) |= APB1ENR1_PWREN;
    (void)REGISTER(RCC_APB1ENR1);
#if BOARD_CLOCK_VDDIO2
    REGISTER(PWR_CR2) |= PWR_CR2_IOSV;
#endif
#if BOARD_CLOCK_BOOST
    REGISTER(PWR_CR5) &= ~PWR_CR5_R1MODE;
#endif
}

static int start_pll(void)
{
    REGISTER(RCC_CR) |= CR_HSION;
    if (!register_wait(RCC_CR, CR_HSIRDY, CR_HSIRDY, POLLS)) {
        return 0;
    }
    REGISTER(RCC_PLLCFGR) = PLLCFGR_SRC_HSI | ((BOARD_CLOCK_PLL_M - 1u) << 4) | (BOARD_CLOCK_PLL_N << 8) |
                            ((BOARD_CLOCK_PLL_R / 2u - 1u) << 25) | PLLCFGR_REN;
    REGISTER(RCC_CR) |= CR_PLLON;
    return register_wait(RCC_CR, CR_PLLRDY, CR_PLLRDY, POLLS);
}

clock_state_t clock_start(void)
{
    clock_state_t state = {BOARD_CLOCK_FALLBACK_HZ, BOARD_CLOCK_FALLBACK_HZ, CLOCK_FALLBACK};
    const uint32_t before = REGISTER(RCC_CFGR);

    prepare_power();
    if (!start_pll()) {
        REGISTER(RCC_CR) &= ~CR_PLLON;
        return state;
    }
    REGISTER(FLASH_ACR) = (REGISTER(FLASH_ACR) & ~ACR_LATENCY) | ACR_PREFETCH_AND_CACHES | BOARD_CLOCK_WAIT_STATES;
    (void)REGISTER(FLASH_ACR); /* the wait states must hold before the clock rises */
    /* By way of half the clock: the regulator wants a microsecond there before the last step. */
    REGISTER(RCC_CFGR) = CFGR_HPRE_2 | CFGR_SW_PLL;
    if (!register_wait(RCC_CFGR, CFGR_SWS_MASK, CFGR_SWS_PLL, POLLS)) {
        REGISTER(RCC_CFGR) = before;
        return state;
    }
    for (uint32_t i = 0; i < BOARD_CLOCK_HZ / 1000000u; i++) {
        (void)REGISTER(RCC_CFGR);
    }
    REGISTER(RCC_CFGR) = CFGR_SW_PLL;
    state.core_hz = BOARD_CLOCK_HZ;
    state.uart_hz = BOARD_CLOCK_HZ;
    state.source = CLOCK_CONFIGURED;
    return state;
}
