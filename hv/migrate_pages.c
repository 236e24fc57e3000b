#include "hv/migrate_pages.h"

#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "hv/migrate_link.h"
#include "hv/migrate_pack.h"
#include "hv/migrate_sums.h"
#include "nbd/zeroes.h"
#include "node/base/clock.h"
#include "node/base/err.h"

enum { PAGE = MEMORY_PAGE_BYTES, WORD_BITS = 64, FILL_BYTES = 64 << 10 };
static const uint64_t chunk_bytes = 1ull << MIGRATE_CHUNK_SHIFT;

/* ---- sending ---- */

static int keep_pace(struct migrate_sender *s, uint64_t bytes, struct err *err)
{
    if (!s->pace)
        return 0;
    uint64_t began = s->pack ? clock_ns() : 0;
    int rc = s->pace(s->context, bytes, err);
    s->paced_ns += s->pack ? clock_ns() - began : 0;
    return rc;
}

/* Bytes that *out has instead of the pages; 0: they go as they are. */
static size_t pack(struct migrate_sender *s, const uint8_t *pages, size_t bytes, const uint8_t **out)
{
    if (!s->pack || !migrate_pays_wants(&s->pays))
        return 0;
    uint64_t spent;
    size_t n = migrate_pack_pages(s->pack, pages, bytes, out, &spent);
    n = n && n + MIGRATE_COUNT_BYTES < bytes ? n : 0;
    migrate_pays_packed(&s->pays, bytes, n ? n : bytes, spent);
    s->pack_ns += spent;
    return n;
}

static int put_packed(struct migrate_sender *s, uint64_t gpa, uint64_t bytes, const uint8_t *packed, size_t n,
                      struct err *err)
{
    uint32_t count = htole32((uint32_t)(bytes / PAGE));
    struct migrate_frame f = {MIGRATE_PACKED, (uint32_t)(sizeof count + n), gpa};
    s->saved_bytes += bytes - f.bytes;
    return migrate_link_put_parts(s->link, &f, &count, sizeof count, packed, err);
}

static int put_pages(struct migrate_sender *s, uint64_t gpa, const uint8_t *pages, uint64_t bytes, struct err *err)
{
    struct migrate_frame f = {MIGRATE_PAGES, (uint32_t)bytes, gpa};
    const uint8_t *packed = NULL;
    size_t n = pack(s, pages, bytes, &packed);
    uint64_t wire = n ? n + MIGRATE_COUNT_BYTES : bytes;
    int rc = keep_pace(s, wire, err);
    s->pages += bytes / PAGE;
    if (!rc && n)
        rc = put_packed(s, f.number, bytes, packed, n, err);
    else if (!rc)
        rc = migrate_link_put(s->link, &f, pages, err);
    if (rc || !s->pack)
        return rc;
    uint64_t all = atomic_fetch_add(s->wire_bytes, wire) + wire;
    if (migrate_pays_sent(&s->pays, wire))
        migrate_pays_look(&s->pays, clock_ns(), s->link->waited_ns + s->paced_ns, all);
    return 0;
}

static int put_zeroes(struct migrate_sender *s, const struct memory_slot *slot, uint64_t at, uint64_t bytes,
                      struct err *err)
{
    uint32_t count = htole32((uint32_t)(bytes / PAGE));
    struct migrate_frame f = {MIGRATE_ZEROES, sizeof count, slot->gpa + at};
    s->zero_pages += bytes / PAGE;
    return migrate_link_put(s->link, &f, &count, err);
}

enum kind { PAGE_FULL, PAGE_ZERO, PAGE_HOT };

/* Hot: written again already, so that it follows in a later round whatever is sent now. */
static enum kind kind_of(const struct migrate_sender *s, const struct memory_slot *slot, unsigned i, uint64_t at)
{
    if (memory_log_has(s->memory, i, at / PAGE))
        return PAGE_HOT;
    return zeroes(slot->host + at, PAGE) ? PAGE_ZERO : PAGE_FULL;
}

/* Those of up to MIGRATE_RUN_BYTES that the destination has not. They are copied first: what is judged and what is sent
 * must be the same, and the guest may write to its own at any time. */
static int put_changed(struct migrate_sender *s, unsigned i, uint64_t at, uint64_t bytes, struct err *err)
{
    const struct memory_slot *slot = memory_slot(s->memory, i);
    int rc = 0;
    memcpy(s->copy, slot->host + at, bytes);
    for (uint64_t from = 0, to; !rc && from < bytes; from = to + PAGE) {
        for (to = from; to < bytes && !migrate_sums_has(s->sums, i, (at + to) / PAGE, s->copy + to);)
            to += PAGE;
        if (to > from)
            rc = put_pages(s, slot->gpa + at + from, s->copy + from, to - from, err);
        s->same_pages += to < bytes;
    }
    return rc;
}

/* The same of pages that are zero; first: at the destination all memory is. */
static int put_new_zeroes(struct migrate_sender *s, unsigned i, uint64_t at, uint64_t bytes, bool first,
                          struct err *err)
{
    const struct memory_slot *slot = memory_slot(s->memory, i);
    int rc = 0;
    if (first)
        s->zero_pages += bytes / PAGE;
    else if (!s->sums || slot->read_only)
        return put_zeroes(s, slot, at, bytes, err);
    for (uint64_t from = 0, to; !first && !rc && from < bytes; from = to + PAGE) {
        for (to = from; to < bytes && !migrate_sums_has_zeroes(s->sums, i, (at + to) / PAGE);)
            to += PAGE;
        if (to > from)
            rc = put_zeroes(s, slot, at + from, to - from, err);
        s->same_pages += to < bytes;
    }
    return rc;
}

/* [at, end) of slot i lies within one chunk. first: zeroes need not be told. */
static int put_run(struct migrate_sender *s, unsigned i, uint64_t at, uint64_t end, bool first, struct err *err)
{
    const struct memory_slot *slot = memory_slot(s->memory, i);
    int rc = 0;
    while (!rc && at < end) {
        enum kind kind = kind_of(s, slot, i, at);
        uint64_t to = at + PAGE;
        while (to < end && (kind != PAGE_FULL || to - at < MIGRATE_RUN_BYTES) && kind_of(s, slot, i, to) == kind)
            to += PAGE;
        if (kind == PAGE_FULL && s->sums)
            rc = put_changed(s, i, at, to - at, err);
        else if (kind == PAGE_FULL)
            rc = put_pages(s, slot->gpa + at, slot->host + at, to - at, err);
        else if (kind == PAGE_ZERO)
            rc = put_new_zeroes(s, i, at, to - at, first, err);
        at = to;
    }
    return rc;
}

static uint64_t chunk_end(const struct memory_slot *slot, uint64_t at, uint64_t end)
{
    uint64_t stop = ((slot->gpa + at) / chunk_bytes + 1) * chunk_bytes - slot->gpa;
    return stop < end ? stop : end;
}

static bool is_ours(const struct migrate_sender *s, const struct memory_slot *slot, uint64_t at)
{
    return migrate_stream_of(slot->gpa + at, s->streams) == s->stream;
}

/* All of a ROM: the destination's own is in its place, which may be another one. */
static int put_rom(struct migrate_sender *s, unsigned i, struct err *err)
{
    const struct memory_slot *slot = memory_slot(s->memory, i);
    int rc = 0;
    for (uint64_t at = 0, end; !rc && at < slot->bytes; at = end) {
        end = chunk_end(slot, at, slot->bytes);
        if (is_ours(s, slot, at))
            rc = put_run(s, i, at, end, false, err);
    }
    return rc;
}

/* What the file holds of a slot. Reading the rest would make the file hold it. */
static int put_present(struct migrate_sender *s, unsigned i, struct err *err)
{
    const struct memory_slot *slot = memory_slot(s->memory, i);
    int fd = memory_fd(s->memory), rc = 0;
    for (uint64_t at = 0; !rc && at < slot->bytes;) {
        off_t data = lseek(fd, (off_t)(slot->fd_offset + at), SEEK_DATA);
        if (data < 0 && errno != ENXIO)
            return err_set(err, errno, "cannot look for the guest's memory: %s", strerror(errno));
        if (data < 0 || (uint64_t)data >= slot->fd_offset + slot->bytes)
            return 0;
        off_t hole = lseek(fd, data, SEEK_HOLE);
        uint64_t stop = (uint64_t)hole - slot->fd_offset;
        stop = hole < 0 || stop > slot->bytes ? slot->bytes : stop;
        at = (uint64_t)data - slot->fd_offset;
        for (uint64_t end; !rc && at < stop; at = end) {
            end = chunk_end(slot, at, stop);
            if (is_ours(s, slot, at))
                rc = put_run(s, i, at, end, true, err);
        }
    }
    return rc;
}

static bool has(const uint64_t *bitmap, uint64_t page)
{
    return bitmap[page / WORD_BITS] >> page % WORD_BITS & 1;
}

static int put_marked(struct migrate_sender *s, unsigned i, const uint64_t *bitmap, uint64_t at, uint64_t end,
                      struct err *err)
{
    int rc = 0;
    for (uint64_t page = at / PAGE; !rc && page < end / PAGE;) {
        if (page % WORD_BITS == 0 && !bitmap[page / WORD_BITS]) {
            page += WORD_BITS;
            continue;
        }
        uint64_t to = page;
        while (to < end / PAGE && has(bitmap, to))
            to++;
        if (to > page)
            rc = put_run(s, i, page * PAGE, to * PAGE, false, err);
        page = to + 1;
    }
    return rc;
}

int migrate_pages_send(struct migrate_sender *s, uint64_t *const *bitmaps, struct err *err)
{
    int rc = 0;
    if (s->pack)
        migrate_pays_begin(&s->pays, clock_ns(), s->link->waited_ns + s->paced_ns, atomic_load(s->wire_bytes));
    for (unsigned i = 0; !rc && i < memory_slot_count(s->memory); i++) {
        const struct memory_slot *slot = memory_slot(s->memory, i);
        if (!bitmaps)
            rc = slot->read_only ? put_rom(s, i, err) : put_present(s, i, err);
        for (uint64_t at = 0, end; bitmaps && !rc && at < slot->bytes; at = end) {
            end = chunk_end(slot, at, slot->bytes);
            if (is_ours(s, slot, at))
                rc = put_marked(s, i, bitmaps[i], at, end, err);
        }
    }
    return rc;
}

int migrate_pages_send_some(struct migrate_sender *s, unsigned slot, uint64_t at, uint64_t bytes, struct err *err)
{
    struct migrate_sums *sums = s->sums;
    s->sums = NULL;
    int rc = put_run(s, slot, at, at + bytes, false, err);
    s->sums = sums;
    return rc;
}

/* ---- receiving ---- */

/* ROM, too: the destination has the source's. */
static const struct memory_slot *slot_of(const struct memory *memory, uint64_t gpa, uint64_t bytes)
{
    for (unsigned i = 0; i < memory_slot_count(memory); i++) {
        const struct memory_slot *slot = memory_slot(memory, i);
        uint64_t at = gpa - slot->gpa;
        if (at < slot->bytes && bytes <= slot->bytes - at)
            return slot;
    }
    return NULL;
}

/* Into the memory's file rather than its mapping: new pages are neither cleared first nor faulted in one by one. */
static int write_at(const struct migrate_receiver *r, const struct memory_slot *slot, uint64_t at, const uint8_t *bytes,
                    size_t count, struct err *err)
{
    if (r->put)
        return r->put(r->context, slot, at, bytes, count, err);
    if (pwrite(memory_fd(r->memory), bytes, count, (off_t)(slot->fd_offset + at)) != (ssize_t)count)
        return err_set(err, errno ? errno : ENOMEM, "cannot fill the guest's memory: %s", strerror(errno));
    return 0;
}

static int fill(const struct migrate_receiver *r, const struct memory_slot *slot, uint64_t at, uint64_t bytes,
                struct err *err)
{
    uint8_t part[FILL_BYTES];
    int rc = 0;
    while (!rc && bytes) {
        size_t n = bytes < sizeof part ? (size_t)bytes : sizeof part;
        rc = migrate_link_get(r->link, part, n, err);
        rc = rc ? rc : write_at(r, slot, at, part, n, err);
        at += n;
        bytes -= n;
    }
    return rc;
}

static int unpack(const struct migrate_receiver *r, const struct memory_slot *slot, uint64_t at, uint64_t bytes,
                  size_t packed_bytes, struct err *err)
{
    const uint8_t *pages;
    uint8_t *room = migrate_pack_room(r->pack, err);
    int rc = room ? migrate_link_get(r->link, room, packed_bytes, err) : -ENOMEM;
    rc = rc ? rc : migrate_pack_unpack(r->pack, packed_bytes, bytes, &pages, err);
    return rc ? rc : write_at(r, slot, at, pages, bytes, err);
}

/* How many bytes of memory the frame is about. */
static int span_of(const struct migrate_receiver *r, const struct migrate_frame *frame, uint64_t *bytes,
                   struct err *err)
{
    uint32_t count;
    *bytes = frame->bytes;
    if (frame->type == MIGRATE_PAGES)
        return 0;
    if (frame->type == MIGRATE_PACKED && !r->pack)
        return err_set(err, EPROTO, "the other side sent compressed pages in a version that has none");
    int rc = migrate_link_get(r->link, &count, sizeof count, err);
    *bytes = rc ? 0 : (uint64_t)le32toh(count) * PAGE;
    if (!rc && frame->type == MIGRATE_PACKED && (*bytes > MIGRATE_RUN_BYTES || frame->bytes >= *bytes))
        return err_set(err, EPROTO, "the other side sent %u pages compressed to %u bytes, which cannot be",
                       le32toh(count), frame->bytes);
    return rc;
}

int migrate_pages_receive(const struct migrate_receiver *r, const struct migrate_frame *frame, struct err *err)
{
    uint64_t bytes;
    int rc = span_of(r, frame, &bytes, err);
    if (rc)
        return rc;
    bool whole = bytes && frame->number % PAGE == 0;
    const struct memory_slot *slot = whole ? slot_of(r->memory, frame->number, bytes) : NULL;
    if (!slot)
        return err_set(err, EPROTO, "the other side sent %llu bytes for %#llx, where this guest has no memory",
                       (unsigned long long)bytes, (unsigned long long)frame->number);
    if (!r->put && (frame->number >> MIGRATE_CHUNK_SHIFT != (frame->number + bytes - 1) >> MIGRATE_CHUNK_SHIFT ||
                    migrate_stream_of(frame->number, r->streams) != r->stream))
        return err_set(err, EPROTO, "the other side sent memory of %#llx over connection %u, where it does not belong",
                       (unsigned long long)frame->number, r->stream);
    uint64_t at = frame->number - slot->gpa;
    if (frame->type == MIGRATE_PAGES)
        return fill(r, slot, at, bytes, err);
    if (frame->type == MIGRATE_PACKED)
        return unpack(r, slot, at, bytes, frame->bytes - MIGRATE_COUNT_BYTES, err);
    if (r->put)
        return r->put(r->context, slot, at, NULL, bytes, err);
    for (; bytes; at += PAGE, bytes -= PAGE)
        if (!zeroes(slot->host + at, PAGE))
            memset(slot->host + at, 0, PAGE);
    return 0;
}
