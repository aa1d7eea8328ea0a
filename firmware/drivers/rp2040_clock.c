/* SPDX-License-Identifier: Apache-2.0
 *
 * RP2040: the 12 MHz crystal through PLL_SYS; the UART gets the same clock (datasheet 2.15, 2.16,
 * 2.18). Until then the ring oscillator runs at some 6 MHz.
 *
 * BOARD_CLOCK_PLL_N, _P1, _P2  VCO = 12 MHz * N, core = VCO / P1 / P2
 */
#include "board_config.h"
#include "clock.h"
#include "registers.h"

#define RESETS_RESET 0x4000C000u
#define RESETS_DONE 0x4000C008u
#define CLK_REF_CTRL 0x40008030u
#define CLK_REF_SELECTED 0x40008038u
#define CLK_SYS_CTRL 0x4000803Cu
#define CLK_SYS_SELECTED 0x40008044u
#define CLK_PERI_CTRL 0x40008048u
#define XOSC_CTRL 0x40024000u
#define XOSC_STATUS 0x40024004u
#define XOSC_STARTUP 0x4002400Cu
#define PLL_CS 0x40028000u
#define PLL_PWR 0x40028004u
#define PLL_FBDIV 0x40028008u
#define PLL_PRIM 0x4002800Cu

#define RESET_IO_BANK0 (1u << 5)
#define RESET_PADS_BANK0 (1u << 8)
#define RESET_PLL_SYS (1u << 12)
#define XOSC_ENABLE_1_15_MHZ 0xFABAA0u
#define XOSC_STARTUP_1_MS 47u /* in 256 cycles of 12 MHz */
#define XOSC_STABLE (1u << 31)
#define REF_FROM_XOSC 2u
#define REF_IS_XOSC (1u << 2)
#define SYS_FROM_PLL 1u
#define SYS_IS_PLL (1u << 1)
#define PERI_ENABLE (1u << 11)
#define PLL_LOCKED (1u << 31)
#define PLL_OFF_PD_VCO ((1u << 5) | 1u)
#define PLL_OFF_POSTDIV (1u << 3)

#define POLLS 100000u

static int start_pll(void)
{
    const uint32_t needed = RESET_IO_BANK0 | RESET_PADS_BANK0 | RESET_PLL_SYS;

    REGISTER(RESETS_RESET) &= ~needed;
    if (!register_wait(RESETS_DONE, needed, needed, POLLS)) {
        return 0;
    }
    REGISTER(XOSC_STARTUP) = XOSC_STARTUP_1_MS;
    REGISTER(XOSC_CTRL) = XOSC_ENABLE_1_15_MHZ;
    if (!register_wait(XOSC_STATUS, XOSC_STABLE, XOSC_STABLE, POLLS)) {
        return 0;
    }
    REGISTER(CLK_REF_CTRL) = REF_FROM_XOSC;
    if (!register_wait(CLK_REF_SELECTED, REF_IS_XOSC, REF_IS_XOSC, POLLS)) {
        return 0;
    }
    REGISTER(PLL_CS) = 1; /* reference divided by 1 */
    REGISTER(PLL_FBDIV) = BOARD_CLOCK_PLL_N;
    REGISTER(PLL_PWR) &= ~PLL_OFF_PD_VCO;
    if (!register_wait(PLL_CS, PLL_LOCKED, PLL_LOCKED, POLLS)) {
        return 0;
    }
    REGISTER(PLL_PRIM) = (BOARD_CLOCK_PLL_P1 << 16) | (BOARD_CLOCK_PLL_P2 << 12);
    REGISTER(PLL_PWR) &= ~PLL_OFF_POSTDIV;
    return 1;
}

clock_state_t clock_start(void)
{
    clock_state_t state = {BOARD_CLOCK_FALLBACK_HZ, BOARD_CLOCK_FALLBACK_HZ, CLOCK_FALLBACK};

    if (start_pll()) {
        REGISTER(CLK_SYS_CTRL) = SYS_FROM_PLL;
        if (register_wait(CLK_SYS_SELECTED, SYS_IS_PLL, SYS_IS_PLL, POLLS)) {
            state.core_hz = BOARD_CLOCK_HZ;
            state.uart_hz = BOARD_CLOCK_HZ;
            state.source = CLOCK_CONFIGURED;
        }
    }
    REGISTER(CLK_PERI_CTRL) = PERI_ENABLE;
    return state;
}
