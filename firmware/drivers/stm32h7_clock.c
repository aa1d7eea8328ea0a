/* SPDX-License-Identifier: Apache-2.0
 *
 * STM32H7 (single core): the external clock through PLL1 (RM0433, chapters PWR and RCC). AXI and AHB
 * run at half the core's clock, the APB buses at a quarter. Also turns on the SRAMs of domain D2.
 *
 * BOARD_CLOCK_HSE_BYPASS     1: a clock is fed into OSC_IN; 0: a crystal
 * BOARD_CLOCK_PLL_M, _N, _P  VCO = HSE / M * N, core = VCO / P; HSE / M is 2 to 4 MHz
 * BOARD_CLOCK_WAIT_STATES    of the flash, BOARD_CLOCK_PROGRAM_DELAY its WRHIGHFREQ
 */
#include "board_config.h"
#include "clock.h"
#include "registers.h"

#define RCC_CR 0x58024400u
#define RCC_CFGR 0x58024410u
#define RCC_D1CFGR 0x58024418u
#define RCC_D2CFGR 0x5802441Cu
#define RCC_D3CFGR 0x58024420u
#define RCC_PLLCKSELR 0x58024428u
#define RCC_PLLCFGR 0x5802442Cu
#define RCC_PLL1DIVR 0x58024430u
#define RCC_AHB2ENR 0x580244DCu
#define PWR_CSR1 0x58024804u
#define PWR_CR3 0x5802480Cu
#define PWR_D3CR 0x58024818u
#define FLASH_ACR 0x52002000u

#define CR_HSEON (1u << 16)
#define CR_HSERDY (1u << 17)
#define CR_HSEBYP (1u << 18)
#define CR_PLL1ON (1u << 24)
#define CR_PLL1RDY (1u << 25)
#define CFGR_SW_PLL1 3u
#define CFGR_SWS_MASK (7u << 3)
#define CFGR_SWS_PLL1 (3u << 3)
#define D1CFGR_AHB_2_APB3_2 ((4u << 4) | 8u)
#define D2CFGR_APB1_2_APB2_2 ((4u << 8) | (4u << 4))
#define D3CFGR_APB4_2 (4u << 4)
#define PLLCKSELR_HSE 2u
#define PLLCFGR_RGE_2_4_MHZ (1u << 2)
#define PLLCFGR_DIVP1EN (1u << 16)
#define AHB2ENR_SRAM123 (7u << 29)
#define CSR1_ACTVOSRDY (1u << 13)
#define CR3_BYPASS_LDO_SMPS 7u
#define CR3_LDOEN (1u << 1)
#define D3CR_VOS1 (3u << 14)
#define D3CR_VOSRDY (1u << 13)

#define POLLS 1000000u

static int raise_voltage(void)
{
    REGISTER(PWR_CR3) = (REGISTER(PWR_CR3) & ~CR3_BYPASS_LDO_SMPS) | CR3_LDOEN;
    if (!register_wait(PWR_CSR1, CSR1_ACTVOSRDY, CSR1_ACTVOSRDY, POLLS)) {
        return 0;
    }
    REGISTER(PWR_D3CR) = D3CR_VOS1;
    return register_wait(PWR_D3CR, D3CR_VOSRDY, D3CR_VOSRDY, POLLS);
}

static int start_pll(void)
{
    REGISTER(RCC_CR) |= BOARD_CLOCK_HSE_BYPASS ? CR_HSEBYP : 0u;
    REGISTER(RCC_CR) |= CR_HSEON;
    if (!register_wait(RCC_CR, CR_HSERDY, CR_HSERDY, POLLS)) {
        return 0;
    }
    REGISTER(RCC_PLLCKSELR) = PLLCKSELR_HSE | (BOARD_CLOCK_PLL_M << 4);
    REGISTER(RCC_PLLCFGR) = PLLCFGR_RGE_2_4_MHZ | PLLCFGR_DIVP1EN;
    REGISTER(RCC_PLL1DIVR) = (BOARD_CLOCK_PLL_N - 1u) | ((BOARD_CLOCK_PLL_P - 1u) << 9);
    REGISTER(RCC_CR) |= CR_PLL1ON;
    return register_wait(RCC_CR, CR_PLL1RDY, CR_PLL1RDY, POLLS);
}

clock_state_t clock_start(void)
{
    clock_state_t state = {BOARD_CLOCK_FALLBACK_HZ, BOARD_CLOCK_FALLBACK_HZ, CLOCK_FALLBACK};

    REGISTER(RCC_AHB2ENR) |= AHB2ENR_SRAM123;
    (void)REGISTER(RCC_AHB2ENR);
    if (!raise_voltage() || !start_pll()) {
        REGISTER(RCC_CR) &= ~CR_PLL1ON;
        return state;
    }
    REGISTER(FLASH_ACR) = (BOARD_CLOCK_PROGRAM_DELAY << 4) | BOARD_CLOCK_WAIT_STATES;
    (void)REGISTER(FLASH_ACR); /* the wait states must hold before the clock rises */
    REGISTER(RCC_D1CFGR) = D1CFGR_AHB_2_APB3_2;
    REGISTER(RCC_D2CFGR) = D2CFGR_APB1_2_APB2_2;
    REGISTER(RCC_D3CFGR) = D3CFGR_APB4_2;
    REGISTER(RCC_CFGR) = CFGR_SW_PLL1;
    if (!register_wait(RCC_CFGR, CFGR_SWS_MASK, CFGR_SWS_PLL1, POLLS)) {
        REGISTER(RCC_CFGR) = 0;
        state.uart_hz = BOARD_CLOCK_FALLBACK_HZ / 4u;
        return state;
    }
    state.core_hz = BOARD_CLOCK_HZ;
    state.uart_hz = BOARD_CLOCK_HZ / 4u;
    state.source = CLOCK_CONFIGURED;
    return state;
}
