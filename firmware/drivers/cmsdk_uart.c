/* SPDX-License-Identifier: Apache-2.0
 *
 * The UART of Arm's Cortex-M System Design Kit, on MPS2 and MPS3 (DDI 0479, chapter 4.3).
 */
#include "board_config.h"
#include "registers.h"
#include "uart.h"

#define UART_DATA (BOARD_UART_BASE + 0x00u)
#define UART_STATE (BOARD_UART_BASE + 0x04u)
#define UART_CTRL (BOARD_UART_BASE + 0x08u)
#define UART_BAUDDIV (BOARD_UART_BASE + 0x10u)
#define STATE_TX_FULL (1u << 0)
#define STATE_RX_FULL (1u << 1)
#define CTRL_TX_RX 3u

void uart_open(uint32_t uart_hz)
{
    REGISTER(UART_BAUDDIV) = (uart_hz + BOARD_UART_BAUD / 2u) / BOARD_UART_BAUD;
    REGISTER(UART_CTRL) = CTRL_TX_RX;
}

void uart_send(uint8_t byte)
{
    while ((REGISTER(UART_STATE) & STATE_TX_FULL) != 0) {
    }
    REGISTER(UART_DATA) = byte;
}

uint8_t uart_receive(void)
{
    while ((REGISTER(UART_STATE) & STATE_RX_FULL) == 0) {
    }
    return (uint8_t)REGISTER(UART_DATA);
}
