/* See saved_guest.h. Only what the memory's file holds is looked at: pages that the guest never touched cost nothing.
 */
#include "hv/saved_guest.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "hv/memory.h"
#include "hv/state.h"
#include "nbd/zeroes.h"
#include "node/base/err.h"

enum {
    HEADER_BYTES = 4096,
    SLOT_ALIGN = 2 << 20,
    MAGIC_BYTES = 12,
    VERSION_AT = 12,
    STATE_BYTES_AT = 16,
    SLOTS_AT = 24,
    SUM_AT = 28,
    FIRST_SLOT_AT = 32,
    SLOT_ENTRY_BYTES = 32,
    ROM_MAX = 16 << 20,
};

static const char magic[MAGIC_BYTES] = "drover-guest";

static void put32(uint8_t *at, uint32_t v)
{
    v = htole32(v);
    memcpy(at, &v, sizeof v);
}

static void put64(uint8_t *at, uint64_t v)
{
    v = htole64(v);
    memcpy(at, &v, sizeof v);
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return le32toh(v);
}

static uint64_t get64(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return le64toh(v);
}

static uint64_t align(uint64_t offset)
{
    return (offset + SLOT_ALIGN - 1) & ~(uint64_t)(SLOT_ALIGN - 1);
}

/* ---- writing ---- */

static int write_all(int fd, const uint8_t *data, uint64_t bytes, uint64_t offset, struct err *err)
{
    while (bytes) {
        ssize_t n = pwrite(fd, data, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set(err, n ? errno : ENOSPC, "cannot write the guest to its file: %s",
                           strerror(n ? errno : ENOSPC));
        data += n;
        bytes -= (uint64_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

/* Runs of pages that are not all zero. */
static int write_run(int fd, const uint8_t *host, uint64_t bytes, uint64_t offset, struct err *err)
{
    uint64_t at = 0;
    int rc = 0;
    while (!rc && at < bytes) {
        uint64_t start = at;
        while (at < bytes && !zeroes(host + at, MEMORY_PAGE_BYTES))
            at += MEMORY_PAGE_BYTES;
        if (at > start)
            rc = write_all(fd, host + start, at - start, offset + start, err);
        while (at < bytes && zeroes(host + at, MEMORY_PAGE_BYTES))
            at += MEMORY_PAGE_BYTES;
    }
    return rc;
}

static int write_slot(int fd, const struct memory *memory, const struct memory_slot *slot, uint64_t offset,
                      struct err *err)
{
    uint64_t end = slot->fd_offset + slot->bytes, at = slot->fd_offset;
    int source = memory_fd(memory), rc = 0;
    while (!rc && at < end) {
        off_t data = lseek(source, (off_t)at, SEEK_DATA);
        if (data < 0 && errno != ENXIO)
            return err_set(err, errno, "cannot look for the guest's memory: %s", strerror(errno));
        if (data < 0 || (uint64_t)data >= end)
            break;
        off_t hole = lseek(source, data, SEEK_HOLE);
        uint64_t stop = hole < 0 || (uint64_t)hole > end ? end : (uint64_t)hole,
                 from = (uint64_t)data - slot->fd_offset;
        rc = write_run(fd, slot->host + from, stop - (uint64_t)data, offset + from, err);
        at = stop;
    }
    return rc;
}

/* A guest that is said to be saved is so after a power cut, too. */
static int settle(int fd, struct err *err)
{
    return fsync(fd) < 0 ? err_set(err, errno, "cannot write the guest to its file: %s", strerror(errno)) : 0;
}

int saved_guest_write(int fd, const struct memory *memory, const void *state, size_t state_bytes, struct err *err)
{
    uint8_t header[HEADER_BYTES] = {0};
    unsigned count = memory_slot_count(memory);
    uint64_t offset = align(HEADER_BYTES + state_bytes);
    memcpy(header, magic, sizeof magic);
    put32(header + VERSION_AT, SAVED_GUEST_VERSION);
    put64(header + STATE_BYTES_AT, state_bytes);
    put32(header + SLOTS_AT, count);
    int rc = 0;
    for (unsigned i = 0; !rc && i < count; i++) {
        const struct memory_slot *slot = memory_slot(memory, i);
        uint8_t *entry = header + FIRST_SLOT_AT + i * SLOT_ENTRY_BYTES;
        put64(entry, slot->gpa);
        put64(entry + 8, slot->bytes);
        put64(entry + 16, offset);
        put64(entry + 24, slot->read_only);
        rc = write_slot(fd, memory, slot, offset, err);
        offset = align(offset + slot->bytes);
    }
    if (!rc && ftruncate(fd, (off_t)offset) < 0)
        rc = err_set(err, errno, "cannot write the guest to its file: %s", strerror(errno));
    if (!rc)
        rc = write_all(fd, state, state_bytes, HEADER_BYTES, err);
    rc = rc ? rc : settle(fd, err);
    put32(header + SUM_AT, (uint32_t)crc32_z(0, header, sizeof header));
    rc = rc ? rc : write_all(fd, header, sizeof header, 0, err); /* last: without it the file is nothing */
    return rc ? rc : settle(fd, err);
}

/* ---- reading ---- */

static int read_all(int fd, uint8_t *data, uint64_t bytes, uint64_t offset, struct err *err)
{
    while (bytes) {
        ssize_t n = pread(fd, data, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set(err, n ? errno : EPROTO, "cannot read the saved guest: %s",
                           n ? strerror(errno) : "the file is too short");
        data += n;
        bytes -= (uint64_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

static int parse_slots(struct saved_guest *s, const uint8_t *header, uint64_t file_bytes, struct err *err)
{
    for (unsigned i = 0; i < s->slot_count; i++) {
        const uint8_t *entry = header + FIRST_SLOT_AT + i * SLOT_ENTRY_BYTES;
        uint64_t bytes = get64(entry + 8), offset = get64(entry + 16), rom = get64(entry + 24);
        if (!bytes || bytes % MEMORY_PAGE_BYTES || offset % SLOT_ALIGN || offset > file_bytes ||
            bytes > file_bytes - offset || rom > 1 || (rom && bytes > ROM_MAX))
            return err_set(err, EPROTO, "the saved guest is damaged: memory slot %u cannot be", i);
        s->slots[i].gpa = get64(entry);
        s->slots[i].bytes = bytes;
        s->slots[i].offset = offset;
        s->slots[i].read_only = rom;
        s->ram_bytes += rom ? 0 : bytes;
    }
    return 0;
}

int saved_guest_open(struct saved_guest *s, int fd, struct err *err)
{
    uint8_t header[HEADER_BYTES];
    struct stat st;
    *s = (struct saved_guest){.fd = fd};
    if (fstat(fd, &st) < 0)
        return err_set(err, errno, "cannot look at the saved guest: %s", strerror(errno));
    int rc = read_all(fd, header, sizeof header, 0, err);
    if (rc)
        return rc;
    if (memcmp(header, magic, sizeof magic) != 0)
        return err_set(err, EPROTO, "this is not a saved guest");
    if (get32(header + VERSION_AT) != SAVED_GUEST_VERSION)
        return err_set(err, EPROTO, "the saved guest has format %u, this program reads format %d",
                       get32(header + VERSION_AT), SAVED_GUEST_VERSION);
    uint32_t sum = get32(header + SUM_AT);
    put32(header + SUM_AT, 0);
    s->state_bytes = get64(header + STATE_BYTES_AT);
    s->slot_count = get32(header + SLOTS_AT);
    if (crc32_z(0, header, sizeof header) != sum || s->slot_count > MEMORY_SLOT_MAX || s->state_bytes > STATE_BYTES_MAX)
        return err_set(err, EPROTO, "the header of the saved guest is damaged");
    rc = parse_slots(s, header, (uint64_t)st.st_size, err);
    if (rc)
        return rc;
    s->state = malloc(s->state_bytes ? s->state_bytes : 1);
    if (!s->state)
        return err_set(err, ENOMEM, "no memory for the saved guest's state");
    rc = read_all(fd, s->state, s->state_bytes, HEADER_BYTES, err);
    if (rc)
        saved_guest_fini(s);
    return rc;
}

void saved_guest_fini(struct saved_guest *s)
{
    free(s->state);
    s->state = NULL;
}

int saved_guest_read_part(const struct saved_guest *s, unsigned slot, uint64_t at, void *to, uint64_t bytes,
                          struct err *err)
{
    return read_all(s->fd, to, bytes, s->slots[slot].offset + at, err);
}

int saved_guest_next(const struct saved_guest *s, unsigned slot, uint64_t *at, uint64_t *bytes, struct err *err)
{
    uint64_t start = s->slots[slot].offset, end = start + s->slots[slot].bytes;
    off_t data = lseek(s->fd, (off_t)(start + *at), SEEK_DATA);
    if (data < 0 && errno != ENXIO) /* no memory read is not memory of zeroes */
        return err_set(err, errno, "cannot read the saved guest: %s", strerror(errno));
    if (data < 0 || (uint64_t)data >= end) {
        *at = s->slots[slot].bytes;
        *bytes = 0;
        return 0;
    }
    off_t hole = lseek(s->fd, data, SEEK_HOLE);
    uint64_t from = (uint64_t)data / MEMORY_PAGE_BYTES * MEMORY_PAGE_BYTES, stop = end;
    if (hole >= 0 && (uint64_t)hole < end)
        stop = ((uint64_t)hole + MEMORY_PAGE_BYTES - 1) / MEMORY_PAGE_BYTES * MEMORY_PAGE_BYTES;
    *at = from - start;
    *bytes = stop - from;
    return 0;
}

/* What the file has as data; its holes are zeroes, as new memory is. */
static int read_slot(const struct saved_guest *s, unsigned i, uint8_t *host, struct err *err)
{
    int rc = 0;
    if (s->slots[i].read_only) /* another ROM may be there, and RAM is zero */
        memset(host, 0, s->slots[i].bytes);
    for (uint64_t at = 0, bytes = 0; !rc && at < s->slots[i].bytes; at += bytes) {
        rc = saved_guest_next(s, i, &at, &bytes, err);
        rc = rc ? rc : saved_guest_read_part(s, i, at, host + at, bytes, err);
    }
    return rc;
}

/* Where the slot belongs: this guest was started with the same memory and firmware, or it is another guest. */
unsigned saved_guest_place(const struct saved_guest *s, unsigned i, const struct memory *memory)
{
    unsigned n = 0;
    for (; n < memory_slot_count(memory); n++) {
        const struct memory_slot *slot = memory_slot(memory, n);
        if (slot->gpa == s->slots[i].gpa && slot->bytes == s->slots[i].bytes &&
            slot->read_only == s->slots[i].read_only)
            break;
    }
    return n;
}

int saved_guest_read_some(const struct saved_guest *s, struct memory *memory, enum saved_guest_part part,
                          struct err *err)
{
    int rc = 0;
    if (s->ram_bytes != memory_size(memory))
        return err_set(err, EINVAL, "the saved guest has %llu bytes of memory, this one %llu: start it with as much",
                       (unsigned long long)s->ram_bytes, (unsigned long long)memory_size(memory));
    for (unsigned i = 0; !rc && i < s->slot_count; i++) {
        unsigned place = saved_guest_place(s, i, memory);
        if (place == memory_slot_count(memory))
            rc = err_set(err, EINVAL, "the saved guest has %s at %#llx, this one has none: start it with the same %s",
                         s->slots[i].read_only ? "a ROM" : "memory", (unsigned long long)s->slots[i].gpa,
                         s->slots[i].read_only ? "firmware" : "memory");
        else if (part == SAVED_GUEST_ALL || s->slots[i].read_only)
            rc = read_slot(s, i, memory_slot(memory, place)->host, err);
    }
    return rc;
}

int saved_guest_read(const struct saved_guest *s, struct memory *memory, struct err *err)
{
    return saved_guest_read_some(s, memory, SAVED_GUEST_ALL, err);
}
