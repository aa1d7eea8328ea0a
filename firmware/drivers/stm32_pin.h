/* SPDX-License-Identifier: Apache-2.0
 *
 * A pin of the GPIO block that all STM32 but the F1 have: MODER, OSPEEDR, AFRL and AFRH.
 */
#ifndef STM32_PIN_H
#define STM32_PIN_H

#include <stdint.h>

#include "registers.h"

#define STM32_GPIO_MODER 0x00u
#define STM32_GPIO_OSPEEDR 0x08u
#define STM32_GPIO_AFR 0x20u

/* Gives the pin to the alternate function (0 to 15), at high speed. */
static inline void stm32_pin_alternate(uint32_t gpio, uint32_t pin, uint32_t function)
{
    const uint32_t afr = gpio + STM32_GPIO_AFR + 4u * (pin / 8u);
    const uint32_t shift = 4u * (pin % 8u);

    REGISTER(afr) = (REGISTER(afr) & ~(15u << shift)) | (function << shift);
    REGISTER(gpio + STM32_GPIO_OSPEEDR) |= 2u << (2u * pin);
    REGISTER(gpio + STM32_GPIO_MODER) = (REGISTER(gpio + STM32_GPIO_MODER) & ~(3u << (2u * pin))) | (2u << (2u * pin));
}

#endif
