/* Memory for code that this process makes: one memfd, mapped twice.
 *
 *     rx: where it runs, never writable      rw: where it is written, never executable
 *
 * No page is ever writable and executable at once (W^X), and nothing has to be mapped or protected later: it is made
 * before the jail closes, which then refuses PROT_EXEC altogether. Pages that are never written cost nothing.
 *
 * A writer fills rw + n and runs rx + n. The processor keeps instruction fetch coherent with stores by physical
 * address, but for code that was changed through another linear address it asks for a serialising instruction before
 * the new code runs: code_memory_publish() (Intel SDM vol. 3, 8.1.3 "Handling Self- and Cross-Modifying Code"). Code
 * that another thread may be running is only replaced when that thread has left it: the owner's business.
 *
 * Threads: new and free by the owner; the bytes are the owner's. */
#ifndef HV_DBT_CODE_MEMORY_H
#define HV_DBT_CODE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct code_memory {
    size_t bytes;
    const uint8_t *rx;
    uint8_t *rw;
};

/* bytes: rounded up to whole pages. Errors: -ENOMEM, -EACCES... with a text that names what the host refuses. */
struct code_memory *code_memory_new(size_t bytes, struct err *err);
void code_memory_free(struct code_memory *memory); /* NULL is fine */

/* What lies behind the first `bytes` bytes is not needed any more: its memory goes back to the host, and it reads as
 * zeroes. */
void code_memory_release(struct code_memory *memory, size_t bytes);

/* What was written through rw may be run through rx by this thread from now on. */
void code_memory_publish(void);

static inline bool code_memory_holds(const struct code_memory *memory, uint64_t rx_address)
{
    return rx_address - (uint64_t)(uintptr_t)memory->rx < memory->bytes;
}

/* The other address of a byte. */
static inline const uint8_t *code_memory_rx(const struct code_memory *memory, const uint8_t *rw)
{
    return memory->rx + (rw - memory->rw);
}

static inline uint8_t *code_memory_rw(const struct code_memory *memory, const uint8_t *rx)
{
    return memory->rw + (rx - memory->rx);
}

#endif
