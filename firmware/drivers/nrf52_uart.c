/* SPDX-License-Identifier: Apache-2.0
 *
 * The UART of nRF52 without EasyDMA (nRF52840 Product Specification, chapter UART): its receiver
 * holds six bytes. Pins are port * 32 + pin.
 */
#include "board_config.h"
#include "registers.h"
#include "uart.h"

#define UART_TASKS_STARTRX (BOARD_UART_BASE + 0x000u)
#define UART_TASKS_STARTTX (BOARD_UART_BASE + 0x008u)
#define UART_EVENTS_RXDRDY (BOARD_UART_BASE + 0x108u)
#define UART_EVENTS_TXDRDY (BOARD_UART_BASE + 0x11Cu)
#define UART_ENABLE (BOARD_UART_BASE + 0x500u)
#define UART_PSELTXD (BOARD_UART_BASE + 0x50Cu)
#define UART_PSELRXD (BOARD_UART_BASE + 0x514u)
#define UART_RXD (BOARD_UART_BASE + 0x518u)
#define UART_TXD (BOARD_UART_BASE + 0x51Cu)
#define UART_BAUDRATE (BOARD_UART_BASE + 0x524u)
#define GPIO_PORT(pin) (0x50000000u + 0x300u * ((pin) / 32u))
#define GPIO_OUTSET(pin) (GPIO_PORT(pin) + 0x508u)
#define GPIO_PIN_CNF(pin) (GPIO_PORT(pin) + 0x700u + 4u * ((pin) % 32u))
#define PIN_CNF_OUTPUT 3u         /* its input buffer stays off */
#define PIN_CNF_INPUT_PULL_UP 12u /* its input buffer is on */
#define ENABLE_UART 4u
#define BAUDRATE_115200 0x01D7E000u /* the table's value: the divider has no other steps */

#if BOARD_UART_BAUD != 115200
#error "only 115200 baud"
#endif

void uart_open(uint32_t uart_hz)
{
    (void)uart_hz;
    REGISTER(GPIO_OUTSET(BOARD_UART_TX_PIN)) = 1u << (BOARD_UART_TX_PIN % 32u); /* idle is high */
    REGISTER(GPIO_PIN_CNF(BOARD_UART_TX_PIN)) = PIN_CNF_OUTPUT;
    REGISTER(GPIO_PIN_CNF(BOARD_UART_RX_PIN)) = PIN_CNF_INPUT_PULL_UP;
    REGISTER(UART_PSELTXD) = BOARD_UART_TX_PIN;
    REGISTER(UART_PSELRXD) = BOARD_UART_RX_PIN;
    REGISTER(UART_BAUDRATE) = BAUDRATE_115200;
    REGISTER(UART_ENABLE) = ENABLE_UART;
    REGISTER(UART_EVENTS_RXDRDY) = 0;
    REGISTER(UART_EVENTS_TXDRDY) = 0;
    REGISTER(UART_TASKS_STARTRX) = 1;
    REGISTER(UART_TASKS_STARTTX) = 1;
}

void uart_send(uint8_t byte)
{
    REGISTER(UART_TXD) = byte;
    while (REGISTER(UART_EVENTS_TXDRDY) == 0) {
    }
    REGISTER(UART_EVENTS_TXDRDY) = 0;
}

uint8_t uart_receive(void)
{
    while (REGISTER(UART_EVENTS_RXDRDY) == 0) {
    }
    REGISTER(UART_EVENTS_RXDRDY) = 0; /* before the byte is taken: taking it may raise the next */
    return (uint8_t)REGISTER(UART_RXD);
}
