/* SPDX-License-Identifier: Apache-2.0
 *
 * Arm's PL011 (DDI 0183) on RP2040: its pins and its reset are the RP2040's (datasheet 2.14, 2.19).
 */
#include "board_config.h"
#include "registers.h"
#include "uart.h"

#define UART_DR (BOARD_UART_BASE + 0x00u)
#define UART_FR (BOARD_UART_BASE + 0x18u)
#define UART_IBRD (BOARD_UART_BASE + 0x24u)
#define UART_FBRD (BOARD_UART_BASE + 0x28u)
#define UART_LCR_H (BOARD_UART_BASE + 0x2Cu)
#define UART_CR (BOARD_UART_BASE + 0x30u)
#define FR_RX_EMPTY (1u << 4)
#define FR_TX_FULL (1u << 5)
#define LCR_H_8_BITS_FIFO 0x70u
#define CR_ENABLE_TX_RX 0x301u

#define RESETS_RESET 0x4000C000u
#define RESETS_DONE 0x4000C008u
#define IO_BANK0 0x40014000u
#define FUNCTION_UART 2u
#define POLLS 100000u

void uart_open(uint32_t uart_hz)
{
    const uint32_t divider = (uart_hz * 4u + BOARD_UART_BAUD / 2u) / BOARD_UART_BAUD; /* in 1/64 */

    REGISTER(RESETS_RESET) &= ~BOARD_UART_RESET_MASK;
    register_wait(RESETS_DONE, BOARD_UART_RESET_MASK, BOARD_UART_RESET_MASK, POLLS);
    REGISTER(IO_BANK0 + 8u * BOARD_UART_TX_PIN + 4u) = FUNCTION_UART;
    REGISTER(IO_BANK0 + 8u * BOARD_UART_RX_PIN + 4u) = FUNCTION_UART;
    REGISTER(UART_IBRD) = divider / 64u;
    REGISTER(UART_FBRD) = divider % 64u;
    REGISTER(UART_LCR_H) = LCR_H_8_BITS_FIFO;
    REGISTER(UART_CR) = CR_ENABLE_TX_RX;
}

void uart_send(uint8_t byte)
{
    while ((REGISTER(UART_FR) & FR_TX_FULL) != 0) {
    }
    REGISTER(UART_DR) = byte;
}

uint8_t uart_receive(void)
{
    while ((REGISTER(UART_FR) & FR_RX_EMPTY) != 0) {
    }
    return (uint8_t)REGISTER(UART_DR);
}
