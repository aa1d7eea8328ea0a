/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FAULT_H
#define FAULT_H

/* Takes every exception but SysTick: sends a FAULT frame with where it happened, then stays. */
void fault_handler(void);

/* The firmware's end. Emulators watch for it; a board waits here for its reset. */
void emulation_done(int code) __attribute__((noreturn));

#endif
