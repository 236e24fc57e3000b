#include "hv/saved_pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/late_pages.h"
#include "hv/memory.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum { PAGE = MEMORY_PAGE_BYTES, PART = 256 << 10, NEAR = 32 << 10 };

int saved_pages_begin(struct saved_pages *p, const struct saved_guest *saved, struct memory *memory, int fd,
                      struct err *err)
{
    *p = (struct saved_pages){.memory = memory, .saved = *saved, .fd = fd};
    p->saved.state = NULL; /* the caller's */
    int rc = saved_guest_read_some(saved, memory, SAVED_GUEST_ROM, err);
    p->buffer = rc ? NULL : malloc(PART);
    if (!rc && !p->buffer)
        rc = err_set(err, ENOMEM, "no memory to read the saved guest");
    rc = rc ? rc : late_pages_watch(fd, memory, err);
    if (rc)
        saved_pages_fini(p);
    return rc;
}

/* There is nobody to tell who could do anything: the main loop may be one of those that wait for the page. */
static void end_process(const char *why)
{
    log_error("load: a part of the saved guest cannot be read any more: %s: the guest ends here", why);
    _exit(EXIT_FAILURE);
}

/* Of slot i, in whole pages. */
static void put(struct saved_pages *p, unsigned i, uint64_t at, uint64_t bytes)
{
    struct err err;
    uint8_t *host = memory_slot(p->memory, saved_guest_place(&p->saved, i, p->memory))->host + at;
    if (saved_guest_read_part(&p->saved, i, at, p->buffer, bytes, &err))
        end_process(err.text);
    int rc = late_pages_put(p->fd, host, p->buffer, bytes);
    if (rc)
        end_process(strerror(-rc));
}

/* The page, and what lies behind it: who reads one often wants the next. */
static void put_wanted(struct saved_pages *p, const uint8_t *host)
{
    for (unsigned i = 0; i < p->saved.slot_count; i++) {
        const struct memory_slot *slot =
            p->saved.slots[i].read_only ? NULL : memory_slot(p->memory, saved_guest_place(&p->saved, i, p->memory));
        if (!slot || host < slot->host || host >= slot->host + slot->bytes)
            continue;
        uint64_t at = (uint64_t)(host - slot->host), bytes = slot->bytes - at < NEAR ? slot->bytes - at : NEAR;
        put(p, i, at, bytes);
    }
    atomic_fetch_add(&p->wanted, 1);
}

static void serve(struct saved_pages *p)
{
    uint8_t *host;
    while (late_pages_wanted(p->fd, &host))
        put_wanted(p, host);
}

void saved_pages_work(struct saved_pages *p)
{
    struct err err;
    for (unsigned i = 0; i < p->saved.slot_count; i++)
        for (uint64_t at = 0, bytes = PART; !p->saved.slots[i].read_only && at < p->saved.slots[i].bytes; at += bytes) {
            serve(p);
            if (atomic_load(&p->ending))
                return;
            if (saved_guest_next(&p->saved, i, &at, &bytes, &err))
                end_process(err.text);
            bytes = bytes < PART ? bytes : PART;
            if (bytes)
                put(p, i, at, bytes);
        }
    late_pages_end(p->fd, p->memory);
}

void saved_pages_stop(struct saved_pages *p)
{
    atomic_store(&p->ending, true);
}

void saved_pages_fini(struct saved_pages *p)
{
    free(p->buffer);
    p->buffer = NULL;
}
