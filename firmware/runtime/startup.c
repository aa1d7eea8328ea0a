/* SPDX-License-Identifier: Apache-2.0
 *
 * From reset to main(): vector table, memory, FPU, caches. No vendor code, no interrupt but SysTick.
 * Registers: Armv7-M and Armv8-M Architecture Reference Manuals, B3.2 (System Control Block).
 */
#include <stdint.h>

#include "board_config.h"
#include "fault.h"
#include "registers.h"
#include "stack.h"

#define SCB_VTOR 0xE000ED08u
#define SCB_CCR 0xE000ED14u
#define SCB_CPACR 0xE000ED88u
#define SCB_CCSIDR 0xE000ED80u
#define SCB_CSSELR 0xE000ED84u
#define SCB_ICIALLU 0xE000EF50u
#define SCB_DCISW 0xE000EF60u
#define CACHE_LINE_SHIFT 5u /* 32 bytes on Cortex-M7 and M55 */
#define CCR_CACHES_AND_PREDICTION (7u << 16) /* DC, IC, BP */
#define CPACR_FPU (15u << 20) /* full access to CP10 and CP11 */

/* Set by the linker script. */
extern uint32_t data_load[];
extern uint32_t data_start[];
extern uint32_t data_end[];
extern uint32_t bss_start[];
extern uint32_t bss_end[];

int main(void);
void Reset_Handler(void);
void SysTick_Handler(void);

typedef void (*handler_t)(void);

/* What the core reads: the first stack pointer, then the 15 system exceptions. */
typedef struct {
    uint32_t *stack;
    handler_t handlers[15];
} vector_table_t;

__attribute__((used, section(".vectors"))) const vector_table_t vectors = {
    stack_top, {
        Reset_Handler,
        fault_handler, /* NMI */
        fault_handler, /* HardFault */
        fault_handler, /* MemManage */
        fault_handler, /* BusFault */
        fault_handler, /* UsageFault */
        fault_handler, /* SecureFault */
        fault_handler,
        fault_handler,
        fault_handler,
        fault_handler, /* SVCall */
        fault_handler, /* DebugMonitor */
        fault_handler,
        fault_handler, /* PendSV */
        SysTick_Handler,
    },
};

static void copy_data(void)
{
    const uint32_t *from = data_load;

    for (uint32_t *to = data_start; to < data_end; to++) {
        *to = *from++;
    }
}

static void clear_bss(void)
{
    for (uint32_t *word = bss_start; word < bss_end; word++) {
        *word = 0;
    }
}

#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)

static void enable_fpu(void)
{
    REGISTER(SCB_CPACR) |= CPACR_FPU;
    __asm volatile("dsb\n isb" ::: "memory");
}

#else

static void enable_fpu(void)
{
}

#endif

#if BOARD_CORE_HAS_CACHES

/* One cache of one level: invalidating it first is needed after power-on (B2.2.7). No DMA is used,
 * so nothing has to be kept coherent. */
static void enable_caches(void)
{
    REGISTER(SCB_CSSELR) = 0; /* the data cache */
    __asm volatile("dsb" ::: "memory");
    const uint32_t sizes = REGISTER(SCB_CCSIDR);
    const uint32_t ways = (sizes >> 3) & 0x3FFu;
    const uint32_t sets = (sizes >> 13) & 0x7FFFu;
    const uint32_t way_shift = ways != 0 ? (uint32_t)__builtin_clz(ways) : 0;

    for (uint32_t set = 0; set <= sets; set++) {
        for (uint32_t way = 0; way <= ways; way++) {
            REGISTER(SCB_DCISW) = (way << way_shift) | (set << CACHE_LINE_SHIFT);
        }
    }
    REGISTER(SCB_ICIALLU) = 0;
    __asm volatile("dsb\n isb" ::: "memory");
    REGISTER(SCB_CCR) |= CCR_CACHES_AND_PREDICTION;
    __asm volatile("dsb\n isb" ::: "memory");
}

#else

static void enable_caches(void)
{
}

#endif

void Reset_Handler(void)
{
    enable_fpu(); /* first: compilers may move data through its registers */
    REGISTER(SCB_VTOR) = (uint32_t)(uintptr_t)&vectors;
    enable_caches();
    stack_paint();
    copy_data();
    clear_bss();
    main();
    for (;;) {
    }
}
