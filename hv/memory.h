/* The guest's physical memory: slots of RAM and ROM, and who wrote to which page.
 *
 * RAM is one memfd, mapped shared: the low slot starts at 0 and ends at 3 GiB at the latest, what is left starts at
 * 4 GiB; the gap belongs to devices. Slots are fixed once vCPUs run. Everything that is not a slot is the bus's.
 *
 * A guest changes its memory while we look at it: copy first (memory_read), judge the copy. Pointers from memory_at()
 * are for bulk data whose content nobody judges.
 *
 * Every write that is not made by a vCPU's own engine goes through memory_write() or is announced by memory_touched()
 * afterwards, so that the dirty log is complete and translated code that was overwritten is dropped.
 *
 * Threads: any, but for new, free, add_rom and watch. Units: bytes; GPA = guest physical address. */
#ifndef HV_MEMORY_H
#define HV_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct memory;

enum { MEMORY_PAGE_BYTES = 4096, MEMORY_PAGE_BITS = 12, MEMORY_SLOT_MAX = 8 };
static const uint64_t memory_low_end = 3ull << 30;    /* where the low slot ends at the latest */
static const uint64_t memory_high_start = 4ull << 30; /* where RAM goes on */

struct memory_slot {
    uint64_t gpa, bytes;
    uint8_t *host;
    uint64_t fd_offset; /* in memory_fd(); RAM and ROM share it */
    bool read_only;
};

/* size_bytes: a multiple of 2 MiB, at least 2 MiB. Errors: -EINVAL, -ENOMEM with a text. */
struct memory *memory_new(uint64_t size_bytes, struct err *err);
void memory_free(struct memory *memory);

/* A read-only slot with a copy of data, padded with zeroes to a page. gpa: page-aligned. */
int memory_add_rom(struct memory *memory, uint64_t gpa, const void *data, size_t bytes, struct err *err);

uint64_t memory_size(const struct memory *memory); /* RAM, without ROM */
int memory_fd(const struct memory *memory);
unsigned memory_slot_count(const struct memory *memory);
const struct memory_slot *memory_slot(const struct memory *memory, unsigned i);

/* Where [gpa, gpa+bytes) is, if all of it lies in one slot; else NULL. _writable: NULL for ROM, too; the caller says
 * memory_touched() after it wrote. Overflow of gpa+bytes is checked. */
const uint8_t *memory_at(const struct memory *memory, uint64_t gpa, uint64_t bytes);
uint8_t *memory_at_writable(const struct memory *memory, uint64_t gpa, uint64_t bytes);

/* 0, or -EFAULT with nothing copied if the range is not all RAM (or, for reading, ROM). */
int memory_read(const struct memory *memory, uint64_t gpa, void *to, size_t bytes);
int memory_write(struct memory *memory, uint64_t gpa, const void *from, size_t bytes);

void memory_touched(struct memory *memory, uint64_t gpa, uint64_t bytes);

/* ---- the dirty log: one bit per page of RAM, in the order of slots ---- */

void memory_log_start(struct memory *memory); /* all pages count as clean from here on */
void memory_log_stop(struct memory *memory);
bool memory_log_running(const struct memory *memory);
/* It runs and the page is clean: a write to it must be told. */
bool memory_log_wants(const struct memory *memory, uint64_t gpa);
/* A page has been written since the log was last taken (of what sync() has brought so far). */
bool memory_log_has(const struct memory *memory, unsigned slot, uint64_t page);
/* One page is dirty: for engines, who look up the page themselves. */
void memory_log_page(struct memory *memory, uint64_t gpa);
/* Bytes of the pages that are dirty now; nothing is taken. */
uint64_t memory_log_bytes(const struct memory *memory);
/* Moves the bits of one slot into bitmap (as many bits as pages, in 64-bit words) and clears them. */
void memory_log_take(struct memory *memory, unsigned slot, uint64_t *bitmap);

/* ---- pages with translated code ---- */

/* Called by whoever wrote a page that is marked, before memory_touched() returns; the mark is gone by then. One
 * watcher; NULL ends it. */
struct memory_watch {
    void (*written)(struct memory_watch *watch, uint64_t gpa_page);
};
void memory_watch(struct memory *memory, struct memory_watch *watch);
/* Marks a page; from now on a write to it calls the watcher, once. */
void memory_watch_page(struct memory *memory, uint64_t gpa);
bool memory_watches_page(const struct memory *memory, uint64_t gpa);

#endif
