/* SPDX-License-Identifier: Apache-2.0
 *
 * STM32F4 and F7: the external clock through the PLL (RM0386 and RM0385, chapters PWR and RCC).
 *
 * BOARD_CLOCK_HSE_BYPASS   1: a clock is fed into OSC_IN; 0: a crystal
 * BOARD_CLOCK_PLL_M, _N, _P, _Q  VCO = HSE / M * N, core = VCO / P; VCO / Q stays below 48 MHz
 * BOARD_CLOCK_OVERDRIVE    1: needed above 168 MHz (F42x, F43x, F446, F469), 180 MHz (F7)
 * BOARD_CLOCK_APB1_DIVIDER, _APB2_DIVIDER  1, 2, 4, 8 or 16
 * BOARD_CLOCK_WAIT_STATES  of the flash
 * BOARD_CLOCK_FLASH_ACCELERATOR  bits of FLASH_ACR: prefetch and caches (F4), prefetch and ART (F7)
 * BOARD_CLOCK_VOS          voltage scale in PWR_CR (3 is scale 1)
 */
#include "board_config.h"
#include "clock.h"
#include "registers.h"

#define RCC_CR 0x40023800u
#define RCC_PLLCFGR 0x40023804u
#define RCC_CFGR 0x40023808u
#define RCC_APB1ENR 0x40023840u
#define PWR_CR 0x40007000u
#define PWR_CSR 0x40007004u
#define FLASH_ACR 0x40023C00u

#define CR_HSEON (1u << 16)
#define CR_HSERDY (1u << 17)
#define CR_HSEBYP (1u << 18)
#define CR_PLLON (1u << 24)
#define CR_PLLRDY (1u << 25)
#define PLLCFGR_SRC_HSE (1u << 22)
#define PLLCFGR_R_RESET (2u << 28)
#define CFGR_SW_MASK 3u
#define CFGR_SW_PLL 2u
#define CFGR_SWS_MASK (3u << 2)
#define CFGR_SWS_PLL (2u << 2)
#define APB1ENR_PWREN (1u << 28)
#define PWR_CR_ODEN (1u << 16)
#define PWR_CR_ODSWEN (1u << 17)
#define PWR_CSR_ODRDY (1u << 16)
#define PWR_CSR_ODSWRDY (1u << 17)

#define POLLS 100000u /* some 30 ms at 16 MHz; a crystal needs 2 */

/* PPRE: 0 for 1, 4 for 2, 5 for 4, 6 for 8, 7 for 16. */
#define PPRE(divider) ((divider) == 1u ? 0u : (divider) == 2u ? 4u : (divider) == 4u ? 5u : (divider) == 8u ? 6u : 7u)

static int start_pll(void)
{
    REGISTER(RCC_CR) |= BOARD_CLOCK_HSE_BYPASS ? CR_HSEBYP : 0u;
    REGISTER(RCC_CR) |= CR_HSEON;
    if (!register_wait(RCC_CR, CR_HSERDY, CR_HSERDY, POLLS)) {
        return 0;
    }
    REGISTER(RCC_APB1ENR) |= APB1ENR_PWREN;
    (void)REGISTER(RCC_APB1ENR);
    REGISTER(PWR_CR) = (REGISTER(PWR_CR) & ~(3u << 14)) | (BOARD_CLOCK_VOS << 14);
    REGISTER(RCC_PLLCFGR) = PLLCFGR_R_RESET | (BOARD_CLOCK_PLL_Q << 24) | PLLCFGR_SRC_HSE |
                            ((BOARD_CLOCK_PLL_P / 2u - 1u) << 16) | (BOARD_CLOCK_PLL_N << 6) | BOARD_CLOCK_PLL_M;
    REGISTER(RCC_CR) |= CR_PLLON;
#if BOARD_CLOCK_OVERDRIVE
    REGISTER(PWR_CR) |= PWR_CR_ODEN;
    if (!register_wait(PWR_CSR, PWR_CSR_ODRDY, PWR_CSR_ODRDY, POLLS)) {
        return 0;
    }
    REGISTER(PWR_CR) |= PWR_CR_ODSWEN;
    if (!register_wait(PWR_CSR, PWR_CSR_ODSWRDY, PWR_CSR_ODSWRDY, POLLS)) {
        return 0;
    }
#endif
    return register_wait(RCC_CR, CR_PLLRDY, CR_PLLRDY, POLLS);
}

clock_state_t clock_start(void)
{
    clock_state_t state = {BOARD_CLOCK_FALLBACK_HZ, BOARD_CLOCK_FALLBACK_HZ, CLOCK_FALLBACK};

    if (!start_pll()) {
        REGISTER(RCC_CR) &= ~CR_PLLON;
        return state;
    }
    REGISTER(FLASH_ACR) = BOARD_CLOCK_FLASH_ACCELERATOR | BOARD_CLOCK_WAIT_STATES;
    (void)REGISTER(FLASH_ACR); /* the wait states must hold before the clock rises */
    REGISTER(RCC_CFGR) = (PPRE(BOARD_CLOCK_APB2_DIVIDER) << 13) | (PPRE(BOARD_CLOCK_APB1_DIVIDER) << 10) | CFGR_SW_PLL;
    if (!register_wait(RCC_CFGR, CFGR_SWS_MASK, CFGR_SWS_PLL, POLLS)) {
        REGISTER(RCC_CFGR) = 0;
        return state;
    }
    state.core_hz = BOARD_CLOCK_HZ;
    state.uart_hz = BOARD_CLOCK_HZ / (BOARD_UART_APB == 2u ? BOARD_CLOCK_APB2_DIVIDER : BOARD_CLOCK_APB1_DIVIDER);
    state.source = CLOCK_CONFIGURED;
    return state;
}
