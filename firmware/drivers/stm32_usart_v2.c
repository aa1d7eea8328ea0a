/* SPDX-License-Identifier: Apache-2.0
 *
 * The USART of STM32 F7, H7, L4, G4 and U5: separate RDR and TDR (RM0432, chapter 47). LPUART1 has
 * the same registers with a finer baud rate (BOARD_UART_LPUART 1).
 */
#include "board_config.h"
#include "registers.h"
#include "stm32_pin.h"
#include "uart.h"

#define USART_CR1 (BOARD_UART_BASE + 0x00u)
#define USART_CR3 (BOARD_UART_BASE + 0x08u)
#define USART_BRR (BOARD_UART_BASE + 0x0Cu)
#define USART_ISR (BOARD_UART_BASE + 0x1Cu)
#define USART_RDR (BOARD_UART_BASE + 0x24u)
#define USART_TDR (BOARD_UART_BASE + 0x28u)
#define CR1_UE (1u << 0)
#define CR1_RE (1u << 2)
#define CR1_TE (1u << 3)
#define CR3_OVRDIS (1u << 12) /* else an overrun would stop reception until it is cleared */
#define ISR_RXNE (1u << 5)
#define ISR_TXE (1u << 7)

#if BOARD_UART_LPUART

static uint32_t baud_divider(uint32_t hz)
{
    return hz / BOARD_UART_BAUD * 256u + hz % BOARD_UART_BAUD * 256u / BOARD_UART_BAUD;
}

#else

static uint32_t baud_divider(uint32_t hz)
{
    return (hz + BOARD_UART_BAUD / 2u) / BOARD_UART_BAUD;
}

#endif

void uart_open(uint32_t uart_hz)
{
    REGISTER(BOARD_UART_GPIO_ENABLE_REGISTER) |= BOARD_UART_GPIO_ENABLE_MASK;
    REGISTER(BOARD_UART_ENABLE_REGISTER) |= BOARD_UART_ENABLE_MASK;
    (void)REGISTER(BOARD_UART_ENABLE_REGISTER); /* the peripheral is there two cycles later */
    stm32_pin_alternate(BOARD_UART_TX_GPIO, BOARD_UART_TX_PIN, BOARD_UART_TX_FUNCTION);
    stm32_pin_alternate(BOARD_UART_RX_GPIO, BOARD_UART_RX_PIN, BOARD_UART_RX_FUNCTION);
    REGISTER(USART_CR1) = 0;
    REGISTER(USART_CR3) = CR3_OVRDIS;
    REGISTER(USART_BRR) = baud_divider(uart_hz);
    REGISTER(USART_CR1) = CR1_UE | CR1_TE | CR1_RE;
}

void uart_send(uint8_t byte)
{
    while ((REGISTER(USART_ISR) & ISR_TXE) == 0) {
    }
    REGISTER(USART_TDR) = byte;
}

uint8_t uart_receive(void)
{
    while ((REGISTER(USART_ISR) & ISR_RXNE) == 0) {
    }
    return (uint8_t)REGISTER(USART_RDR);
}
