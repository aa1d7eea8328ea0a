/* SPDX-License-Identifier: Apache-2.0
 *
 * The stack's high-water mark: start-up fills the stack with a pattern, and what was ever written
 * no longer holds it.
 */
#ifndef STACK_H
#define STACK_H

#include <stdint.h>

/* Set by the linker script. */
extern uint32_t stack_bottom[];
extern uint32_t stack_top[];

/* Bytes between the linker script's stack_bottom and stack_top. */
uint32_t stack_size(void);

/* The most bytes that were in use at once since start-up. */
uint32_t stack_used(void);

/* Fills what lies below the caller's frame. */
void stack_paint(void);

#endif
