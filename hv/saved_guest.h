/* A guest in a file: its state (state.h) and its memory, at fixed places, so that it can be written and read in any
 * order, in parallel, or page by page when it is needed. Pages of zeroes are holes.
 *
 *     0      12 bytes "drover-guest", u32 version, u64 state bytes, u32 number of slots, u32 CRC-32 of the first 4096
 *            bytes with this field 0; then per slot u64 gpa, u64 bytes, u64 place in the file, u64 1 for ROM
 *     4096   the state
 *     then   the slots, each from a multiple of 2 MiB
 *
 * Numbers are little-endian. The file was opened by somebody else. Thread: the main loop's, with no vCPU running. */
#ifndef HV_SAVED_GUEST_H
#define HV_SAVED_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct memory;

enum { SAVED_GUEST_VERSION = 1 };

/* fd: an empty file. It is durable when this returns 0; that the directory knows its name is the caller's to see to.
 * Errors: -ENOSPC and what else writing may meet, with a text. */
int saved_guest_write(int fd, const struct memory *memory, const void *state, size_t state_bytes, struct err *err);

struct saved_guest {
    int fd; /* the caller's */
    uint64_t ram_bytes, state_bytes;
    void *state;
    unsigned slot_count;
    struct {
        uint64_t gpa, bytes, offset;
        bool read_only;
    } slots[8];
};

/* Judges the header and reads the state. -EPROTO with a text: not such a file, or damaged. */
int saved_guest_open(struct saved_guest *saved, int fd, struct err *err);
void saved_guest_fini(struct saved_guest *saved);
/* Fills memory, which is new and has the same slots. -EINVAL with a text if it has not. _some: ROM alone, or all. */
enum saved_guest_part { SAVED_GUEST_ROM, SAVED_GUEST_ALL };
int saved_guest_read_some(const struct saved_guest *saved, struct memory *memory, enum saved_guest_part part,
                          struct err *err);
int saved_guest_read(const struct saved_guest *saved, struct memory *memory, struct err *err);

/* ---- page by page, after _read_some() has found that the slots fit: any thread, several at a time ---- */

/* Which of memory's slots a saved one is. */
unsigned saved_guest_place(const struct saved_guest *saved, unsigned slot, const struct memory *memory);
/* Where data goes on in a slot from *at on, and how many bytes of it; *bytes 0 and *at the slot's end: nowhere. */
int saved_guest_next(const struct saved_guest *saved, unsigned slot, uint64_t *at, uint64_t *bytes, struct err *err);
/* Holes are zeroes. -EPROTO: the file has become too short. */
int saved_guest_read_part(const struct saved_guest *saved, unsigned slot, uint64_t at, void *to, uint64_t bytes,
                          struct err *err);

#endif
