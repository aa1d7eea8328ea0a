/* SPDX-License-Identifier: Apache-2.0
 *
 * RP2040's second boot stage: the first 256 bytes of flash (datasheet 2.8.1.3.1, 4.10).
 *
 * The boot ROM copies them to SRAM, checks the CRC in the last four bytes and runs them. They set the
 * flash interface to read by the serial command 03h, which every flash chip knows, at a quarter of the
 * core's clock (31 MHz of the 50 that 03h allows), and start the firmware behind them as a reset would.
 * Four data lines would be faster but need a setting in the chip that differs from chip to chip.
 *
 * The CRC (polynomial 0x04C11DB7, not reflected, from 0xFFFFFFFF) is over the 252 bytes before it; a
 * test assembles this file and checks it.
 */
    .syntax unified
    .cpu cortex-m0plus
    .thumb
    .section .boot, "ax"
    .balign 256

boot2:
    ldr r3, ssi_base
    movs r0, #0
    str r0, [r3, #0x08]     /* SSIENR: off while it is set up */
    movs r0, #4
    str r0, [r3, #0x14]     /* BAUDR: a quarter of the core's clock */
    ldr r0, ssi_ctrlr0
    str r0, [r3, #0x00]
    movs r0, #0
    str r0, [r3, #0x04]     /* CTRLR1: one word a transfer */
    ldr r0, ssi_spi_ctrlr0
    ldr r1, ssi_spi_ctrlr0_register
    str r0, [r1]
    movs r0, #1
    str r0, [r3, #0x08]     /* SSIENR: on; flash is at 0x10000000 from here */

    ldr r0, firmware
    ldr r1, vtor
    str r0, [r1]
    ldr r1, [r0, #0]
    msr msp, r1
    ldr r1, [r0, #4]
    bx r1

    .balign 4
ssi_base:
    .word 0x18000000
ssi_ctrlr0:
    .word (31 << 16) | (3 << 8)                     /* 32-bit frames, EEPROM read, one data line */
ssi_spi_ctrlr0:
    .word (0x03 << 24) | (2 << 8) | (6 << 2)        /* command 03h of 8 bits, 24 bits of address */
ssi_spi_ctrlr0_register:
    .word 0x180000F4
firmware:
    .word 0x10000100
vtor:
    .word 0xE000ED08

    .org boot2 + 252
    .word 0xCA1A5616
