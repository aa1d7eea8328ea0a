/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UART_H
#define UART_H

#include <stdint.h>

/* Opens the board's UART: BOARD_UART_BAUD, 8 data bits, no parity, 1 stop bit, polled. */
void uart_open(uint32_t uart_hz);

/* Waits until there is room, then sends. */
void uart_send(uint8_t byte);

/* Waits for a byte. Line errors are cleared; what they spoiled shows as a wrong CRC. */
uint8_t uart_receive(void);

#endif
