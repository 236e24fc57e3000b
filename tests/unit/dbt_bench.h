/* A tiny machine for payloads of a few instructions: 4 MiB, the engine under test, and a port that stops the vCPU.
 *
 *     1000h GDT   2000h IDT   3000h TSS   4000h TSS of a second task   6000h a stub per vector   8000h code
 *     10000h page tables: the first 2 MiB in 4 KiB pages, the next 2 MiB as one   20000h kernel's, 30000h user's stack
 *     40000h and up: data
 *
 * A stub of the IDT stops vCPU 0, and so does OUT to port F4h (of 32 bits: the vCPU of that number); bench_run()
 * returns the state at that point. */
#ifndef TESTS_UNIT_DBT_BENCH_H
#define TESTS_UNIT_DBT_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/bus.h"
#include "hv/cpu_state.h"
#include "hv/memory.h"
#include "hv/vcpu.h"

enum {
    BENCH_GDT = 0x1000,
    BENCH_IDT = 0x2000,
    BENCH_TSS = 0x3000,
    BENCH_TSS2 = 0x4000,
    BENCH_STUBS = 0x6000,
    BENCH_STUB_BYTES = 4,
    BENCH_CODE = 0x8000,
    BENCH_PAGES = 0x10000,
    BENCH_PT = 0x13000,
    BENCH_STACK = 0x20000,
    BENCH_USER_STACK = 0x30000,
    BENCH_DATA = 0x40000,
    BENCH_PORT = 0xf4,
    BENCH_NO_VECTOR = 256,
};

enum bench_selector {
    BENCH_CODE64 = 0x08,
    BENCH_DATA0 = 0x10,
    BENCH_CODE32 = 0x18,
    BENCH_USER32 = 0x2b,
    BENCH_USER_DATA = 0x33,
    BENCH_USER64 = 0x3b,
    BENCH_TSS_SELECTOR = 0x40,
    BENCH_TSS2_SELECTOR = 0x50,
    BENCH_ABSENT = 0x58, /* a code segment that is not present */
    BENCH_CALL_GATE = 0x63,
};

enum bench_mode { BENCH_REAL, BENCH_PROTECTED, BENCH_LONG };

struct bench {
    const struct engine *engine;
    struct loop *loop;
    struct bus *bus;
    struct timers *timers;
    struct memory *memory;
    struct vm *vm;
    struct vcpu *vcpu[2];
    unsigned vcpus;
    struct bus_region region;
    uint8_t *ram;
};

struct bench_stop {
    enum vcpu_exit exit;
    unsigned vector; /* of the stub that stopped it; BENCH_NO_VECTOR: an OUT elsewhere */
    uint32_t code;   /* error code on the stack, if the vector has one */
    struct cpu_state cpu;
};

void bench_new(struct bench *bench, const struct engine *engine, unsigned vcpus);
void bench_free(struct bench *bench);

/* Tables for the mode, and a state that starts at BENCH_CODE in ring 0. */
void bench_prepare(struct bench *bench, enum bench_mode mode, struct cpu_state *cpu);
void bench_put(struct bench *bench, uint64_t gpa, const void *data, size_t bytes);
void bench_set_gate(struct bench *bench, enum bench_mode mode, unsigned vector, uint64_t offset, unsigned dpl);
uint64_t *bench_pte(struct bench *bench, uint64_t linear); /* below 2 MiB, long mode */
/* Turns a prepared state into ring 3. */
void bench_user(struct cpu_state *cpu, enum bench_mode mode);

/* Sets vCPU 0, runs it until it stops. */
void bench_run(struct bench *bench, const struct cpu_state *cpu, struct bench_stop *stop);
/* Code at BENCH_CODE, then bench_run(). */
void bench_code(struct bench *bench, const struct cpu_state *cpu, const void *code, size_t bytes,
                struct bench_stop *stop);

#endif
