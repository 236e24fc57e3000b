/* The part of the payload that runs before 64-bit mode: 32-bit protected mode without paging, where there are task
 * switches and virtual 8086 mode. Built as 32-bit code (build.sh); what it finds is kept and printed by main.c.
 *
 * It has tables of its own: a GDT, an IDT, and the TSS of the task that judges. */
#ifndef TESTS_HV_PAYLOAD_LEGACY_LEGACY_H
#define TESTS_HV_PAYLOAD_LEGACY_LEGACY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum legacy_vector {
    LEGACY_DB = 1,
    LEGACY_BP = 3,
    LEGACY_UD = 6,
    LEGACY_TS = 10,
    LEGACY_NP = 11,
    LEGACY_SS = 12,
    LEGACY_GP = 13,
    LEGACY_GATE = 0x30, /* a task gate */
    LEGACY_CALL = 0x31, /* for ring 3 */
    LEGACY_VECTORS = 0x32,
    LEGACY_NONE = 255,
};

enum legacy_selector {
    LEGACY_CODE = 0x08,
    LEGACY_DATA = 0x10,
    LEGACY_TASK_A = 0x18, /* who judges */
    LEGACY_TASK_B = 0x20,
    LEGACY_TASK_GATE = 0x28, /* to B */
    LEGACY_TASK_16 = 0x30,
    LEGACY_CODE_16 = 0x38,
    LEGACY_TASK_SHORT = 0x40,
    LEGACY_TASK_ABSENT = 0x48,
    LEGACY_GDT_ENTRIES = 10,
};

struct legacy_tss {
    uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
    uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi, es, cs, ss, ds, fs, gs, ldt;
    uint16_t trap, bitmap_at;
    uint8_t bitmap[33]; /* ports 0 to FFh */
} __attribute__((packed));

/* What an exception or interrupt has pushed, and what its stub adds. From esp on only if it came from ring 3, from es
 * on only if from virtual 8086 mode. */
struct legacy_frame {
    uint32_t gs_now, fs_now, es_now, ds_now; /* as the handler found them */
    uint32_t edi, esi, ebp, esp_now, ebx, edx, ecx, eax;
    uint32_t vector, code, eip, cs, eflags, esp, ss, es, ds, fs, gs;
};

extern struct legacy_frame legacy_caught; /* vector NONE: nothing */
extern uint32_t legacy_resume;            /* where an exception goes on; 0: it is not expected */
extern uint64_t legacy_gdt[LEGACY_GDT_ENTRIES];
extern struct legacy_tss legacy_tss_a;

void legacy_check(const char *name, bool holds);
void legacy_main(void);
void legacy_test_tasks(void);
void legacy_test_v8086(void);

/* Executes assembly that may fault, and goes on behind it. */
#define LEGACY_CATCH(text, ...)                                                                                        \
    do {                                                                                                               \
        legacy_caught = (struct legacy_frame){.vector = LEGACY_NONE};                                                  \
        __asm__ volatile("movl $9f, legacy_resume\n" text "\n9: " __VA_ARGS__);                                        \
        legacy_resume = 0;                                                                                             \
    } while (0)

#endif
