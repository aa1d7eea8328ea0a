/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REGISTERS_H
#define REGISTERS_H

#include <stdint.h>

/* The peripheral register at an address. */
#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* Waits until the bits of `mask` read as `value`; gives up after about `polls` reads.
 * Returns 1 when they did. */
static inline int register_wait(uint32_t address, uint32_t mask, uint32_t value, uint32_t polls)
{
    while (polls-- > 0) {
        if ((REGISTER(address) & mask) == value) {
            return 1;
        }
    }
    return 0;
}

#endif
