/* SPDX-License-Identifier: Apache-2.0
 *
 * A fault becomes one frame on the serial line: exception number, program counter, link register,
 * and on Armv7-M and later the status registers that tell the cause.
 */
#include "fault.h"

#include <stdint.h>

#include "frame.h"
#include "link.h"
#include "registers.h"
#include "stack.h"
#include "uart.h"

#define SCB_ICSR 0xE000ED04u
#define SCB_CFSR 0xE000ED28u
#define SCB_HFSR 0xE000ED2Cu
#define SCB_MMFAR 0xE000ED34u
#define SCB_BFAR 0xE000ED38u

#define FRAME_LR 5u /* words of an exception frame */
#define FRAME_PC 6u
#define FRAME_WORDS 8u

#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#define STATUS_WORDS 0u
#else
#define STATUS_WORDS 4u
#endif

#define FAULT_STATUS 70 /* the exit code: EX_SOFTWARE of sysexits.h */

__attribute__((noinline)) void emulation_done(int code)
{
    for (;;) {
        __asm volatile("" ::"r"(code)); /* the code stays in r0, where emulators look */
    }
}

static uint8_t *put(uint8_t *to, uint32_t word)
{
    for (uint32_t i = 0; i < 4u; i++) {
        *to++ = (uint8_t)(word >> (8u * i));
    }
    return to;
}

/* `frame` is the stack pointer at the exception. */
__attribute__((used, noreturn)) void fault_report(const uint32_t *frame)
{
    uint8_t message[FRAME_HEADER_BYTES + 4u * (4u + STATUS_WORDS) + FRAME_CRC_BYTES];
    uint8_t *end = message;
    const int readable = frame >= stack_bottom && frame + FRAME_WORDS <= stack_top;

    *end++ = LINK_FAULT;
    *end++ = 0;
    end = put(end, REGISTER(SCB_ICSR) & 0x1FFu);
    end = put(end, readable ? frame[FRAME_PC] : 0);
    end = put(end, readable ? frame[FRAME_LR] : 0);
    end = put(end, (uint32_t)(uintptr_t)frame);
#if STATUS_WORDS
    end = put(end, REGISTER(SCB_CFSR));
    end = put(end, REGISTER(SCB_HFSR));
    end = put(end, REGISTER(SCB_MMFAR));
    end = put(end, REGISTER(SCB_BFAR));
#endif
    frame_send(message, (uint32_t)(end - message), uart_send);
    emulation_done(FAULT_STATUS);
}

/* The stack may be what failed: its pointer is handed on, and the report starts a new one. */
__attribute__((naked)) void fault_handler(void)
{
    __asm volatile("mov r0, sp\n"
                   "ldr r1, =stack_top\n"
                   "mov sp, r1\n"
                   "ldr r1, =fault_report\n"
                   "bx r1\n"
                   ".ltorg\n");
}
