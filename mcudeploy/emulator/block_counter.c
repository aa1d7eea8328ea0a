/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts executed instructions: called by Unicorn before every basic block, on the host.
 *
 * A Thumb instruction has 4 bytes when the upper five bits of its first halfword are 0b11101 or
 * more, else 2, so a block's count follows from its bytes. The blocks in flash are kept in a table
 * with how often each was entered, and how often it was left by a branch that was taken; code in RAM
 * may change and is counted each time. counting.py has the same in Python and the layout of the
 * structure.
 */
#include <stdint.h>

#define TABLE_ENTRIES 16384u
#define PROBES 64u
#define IT_BITS 0x0600FC00u /* of XPSR (Armv7-M Architecture Reference Manual, B1.4.2) */

typedef struct {
    uint32_t address;
    uint32_t bytes;
    uint32_t instructions; /* 0: the entry is free */
    uint64_t executions;
    uint64_t taken;
} entry_t;

typedef struct {
    uint64_t instructions; /* all blocks entered so far, the current one with all that it has */
    uint64_t limit;        /* stop before the block at which this many are reached */
    uint32_t block_address;
    uint32_t block_bytes;
    uint32_t block_instructions;
    uint32_t stop; /* set by the host: stop before the next block */
    const uint8_t *code;
    uint32_t code_address;
    uint32_t code_bytes;
    uint64_t unrecorded;   /* executions of blocks outside of the table */
    uint64_t watched_bytes; /* read where mcudeploy_read is hooked */
    entry_t *last;         /* the block before, if it is in the table */
    uint32_t last_end;
    int32_t status_register; /* Unicorn's number of XPSR */
    int (*emu_stop)(void *engine);
    int (*mem_read)(void *engine, uint64_t address, void *bytes, uint64_t count);
    int (*reg_read)(void *engine, int number, void *value);
    int (*reg_write)(void *engine, int number, const void *value);
    entry_t table[TABLE_ENTRIES];
} counter_t;

static uint32_t count_in(const uint8_t *code, uint32_t bytes)
{
    uint32_t instructions = 0;

    for (uint32_t i = 0; i + 1u < bytes; instructions++) {
        i += (code[i + 1u] >> 3) >= 0x1Du ? 4u : 2u;
    }
    return instructions;
}

static uint32_t count_unknown(counter_t *counter, void *engine, uint32_t address, uint32_t bytes)
{
    uint8_t code[4096];
    uint32_t instructions = 0;

    while (bytes > 0) {
        const uint32_t piece = bytes < sizeof code ? bytes : sizeof code;
        if (counter->mem_read(engine, address, code, piece) != 0) {
            break;
        }
        instructions += count_in(code, piece);
        address += piece;
        bytes -= piece;
    }
    return instructions;
}

/* The entry of a block, NULL where it is not in flash or the table is full. */
static entry_t *entry_of(counter_t *counter, uint32_t address, uint32_t bytes)
{
    const uint32_t offset = address - counter->code_address;
    const uint32_t first = address >> 1;

    if (offset >= counter->code_bytes || bytes > counter->code_bytes - offset) {
        return 0;
    }
    for (uint32_t probe = 0; probe < PROBES; probe++) {
        entry_t *entry = &counter->table[(first + probe) % TABLE_ENTRIES];
        if (entry->instructions == 0) {
            entry->address = address;
            entry->bytes = bytes;
            entry->instructions = count_in(counter->code + offset, bytes);
        }
        if (entry->address == address && entry->bytes == bytes) {
            return entry;
        }
    }
    return 0;
}

/* A UC_HOOK_BLOCK callback. */
void mcudeploy_block(void *engine, uint64_t address, uint32_t bytes, void *user)
{
    counter_t *counter = user;

    if (counter->stop || counter->instructions >= counter->limit) {
        counter->emu_stop(engine); /* the block is entered again when the host goes on */
        return;
    }
    counter->block_address = (uint32_t)address;
    counter->block_bytes = bytes;
    if (counter->last != 0 && counter->last_end != (uint32_t)address) {
        counter->last->taken++;
    }
    entry_t *entry = entry_of(counter, (uint32_t)address, bytes);
    counter->last = entry;
    counter->last_end = (uint32_t)address + bytes;
    if (entry != 0) {
        entry->executions++;
        counter->block_instructions = entry->instructions;
    } else {
        counter->unrecorded++;
        counter->block_instructions = count_unknown(counter, engine, (uint32_t)address, bytes);
    }
    counter->instructions += counter->block_instructions;
}

/*
 * A UC_HOOK_MEM_READ callback; hooked over flash while it is asked what is read from there.
 *
 * Before it calls, Unicorn 2.1 restores the state of the IT block that a load stands in and leaves
 * it there, although the block's translation does not need it: the next block would take it for its
 * own and skip instructions. So it is cleared.
 */
void mcudeploy_read(void *engine, int type, uint64_t address, int size, int64_t value, void *user)
{
    counter_t *counter = user;

    uint64_t status = 0;

    (void)type;
    (void)address;
    (void)value;
    counter->watched_bytes += (uint64_t)size;
    counter->reg_read(engine, counter->status_register, &status);
    if (status & IT_BITS) {
        status &= ~(uint64_t)IT_BITS;
        counter->reg_write(engine, counter->status_register, &status);
    }
}
