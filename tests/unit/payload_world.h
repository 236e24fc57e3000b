/* A small guest for tests of our own engines: 64-bit mode, page tables, interrupt table, a log of exceptions; and
 * payloads, written in assembly, that run in it until they write to port F4h.
 *
 *     page    0x1000 to 0x4fff   page tables: 0 to 2 MiB in pages of 4 KiB, 2 to 4 MiB in one; all for the user, too
 *             0x5000             IDT, GDT, TSS
 *             0x6000             handlers: an exception is written to the log, then it goes on at R15
 *             0x10000            the payload, RSP = 0x20000
 *             0x30000            data; 0x34000 read-only, 0x35000 absent, 0x36000 shows page 0x37000
 *             0x38000            the log: a count, then {vector, error code, RIP, CR2}
 *
 * Threads: one owner. */
#ifndef TESTS_UNIT_PAYLOAD_WORLD_H
#define TESTS_UNIT_PAYLOAD_WORLD_H

#include "tests/unit/isa_fixture.h"

#include "hv/cpu_state.h"
#include "hv/vcpu.h"

enum {
    WORLD_BYTES = 4 << 20,
    WORLD_TABLES = 0x1000,
    WORLD_PAGE_TABLE = 0x4000,
    WORLD_CODE = 0x10000,
    WORLD_STACK = 0x20000,
    WORLD_DATA = 0x30000,
    WORLD_READ_ONLY = 0x34000,
    WORLD_ABSENT = 0x35000,
    WORLD_ALIAS = 0x36000,
    WORLD_LOG = 0x38000,
};

struct world {
    struct isa_fixture *board;
    struct memory *memory;
    struct vm *vm;
    struct vcpu *vcpu;
    struct bus_region port;
    struct cpu_state out; /* when the payload was over */
};

void world_init(struct world *w, struct isa_fixture *board, const struct engine *engine);
void world_fini(struct world *w);
/* Both halves of world_run(): at the payload's start; until the vCPU says something. */
void world_load(struct world *w, const uint8_t *code, size_t bytes);
enum vcpu_exit world_go(struct world *w);
/* Fails the test unless the payload ends by itself. */
void world_run(struct world *w, const uint8_t *code, size_t bytes);
/* The log's entry n: words of it. */
uint64_t world_word(const struct world *w, uint64_t gpa);

/* Payloads are assembled with the test: PAYLOAD(name, "instructions") makes name[] and name_end[]. */
#define PAYLOAD(name, text)                                                                                            \
    __asm__(".pushsection .rodata\n.intel_syntax noprefix\n" #name ":\n" text "\n" #name                               \
            "_end:\n.att_syntax prefix\n.popsection\n");                                                               \
    extern const uint8_t name[], name##_end[]
#define PAYLOAD_EXIT "out 0xf4, al\n"

#endif
