/* SPDX-License-Identifier: Apache-2.0
 *
 * The USART of STM32 F1, F2 and F4: SR, DR, BRR (RM0386, chapter 30).
 */
#include "board_config.h"
#include "registers.h"
#include "uart.h"
#ifndef BOARD_UART_PINS_F1
#include "stm32_pin.h"
#endif

#define USART_SR (BOARD_UART_BASE + 0x00u)
#define USART_DR (BOARD_UART_BASE + 0x04u)
#define USART_BRR (BOARD_UART_BASE + 0x08u)
#define USART_CR1 (BOARD_UART_BASE + 0x0Cu)
#define SR_RXNE (1u << 5)
#define SR_TXE (1u << 7)
#define CR1_RE (1u << 2)
#define CR1_TE (1u << 3)
#define CR1_UE (1u << 13)

#ifdef BOARD_UART_PINS_F1

/* F1: four bits a pin in CRL and CRH; 0xB is the alternate push-pull output, 0x4 the input. */
static void configure(uint32_t gpio, uint32_t pin, uint32_t mode)
{
    const uint32_t control = gpio + 4u * (pin / 8u);
    const uint32_t shift = 4u * (pin % 8u);

    REGISTER(control) = (REGISTER(control) & ~(15u << shift)) | (mode << shift);
}

static void configure_pins(void)
{
    configure(BOARD_UART_TX_GPIO, BOARD_UART_TX_PIN, 0xBu);
    configure(BOARD_UART_RX_GPIO, BOARD_UART_RX_PIN, 0x4u);
}

#else

static void configure_pins(void)
{
    stm32_pin_alternate(BOARD_UART_TX_GPIO, BOARD_UART_TX_PIN, BOARD_UART_TX_FUNCTION);
    stm32_pin_alternate(BOARD_UART_RX_GPIO, BOARD_UART_RX_PIN, BOARD_UART_RX_FUNCTION);
}

#endif

void uart_open(uint32_t uart_hz)
{
    REGISTER(BOARD_UART_GPIO_ENABLE_REGISTER) |= BOARD_UART_GPIO_ENABLE_MASK;
    REGISTER(BOARD_UART_ENABLE_REGISTER) |= BOARD_UART_ENABLE_MASK;
    (void)REGISTER(BOARD_UART_ENABLE_REGISTER); /* the peripheral is there two cycles later */
    configure_pins();
    REGISTER(USART_CR1) = 0;
    REGISTER(USART_BRR) = (uart_hz + BOARD_UART_BAUD / 2u) / BOARD_UART_BAUD;
    REGISTER(USART_CR1) = CR1_UE | CR1_TE | CR1_RE;
}

void uart_send(uint8_t byte)
{
    while ((REGISTER(USART_SR) & SR_TXE) == 0) {
    }
    REGISTER(USART_DR) = byte;
}

uint8_t uart_receive(void)
{
    /* Reading SR and then DR also clears overrun, noise and framing errors. */
    while ((REGISTER(USART_SR) & SR_RXNE) == 0) {
    }
    return (uint8_t)REGISTER(USART_DR);
}
