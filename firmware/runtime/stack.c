/* SPDX-License-Identifier: Apache-2.0 */
#include "stack.h"

/* No byte equals its neighbour, so that no compiler makes a call of memset of the loop. */
#define PATTERN 0x5AFE57ACu
#define OWN_WORDS 32u /* more than the painting function keeps on the stack itself */

uint32_t stack_size(void)
{
    return (uint32_t)((uintptr_t)stack_top - (uintptr_t)stack_bottom);
}

uint32_t stack_used(void)
{
    const uint32_t *word = stack_bottom;

    while (word < stack_top && *word == PATTERN) {
        word++;
    }
    return (uint32_t)((uintptr_t)stack_top - (uintptr_t)word);
}

__attribute__((noinline)) void stack_paint(void)
{
    uint32_t *pointer;
    uint32_t *word = stack_bottom;

    __asm volatile("mov %0, sp" : "=r"(pointer));
    while (word + OWN_WORDS < pointer) {
        *word++ = PATTERN;
    }
}
