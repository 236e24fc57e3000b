/* Loads an ELF kernel (64-bit, x86-64) into guest memory as it streams in, and finds its PVH entry.
 *
 * It is a payload_sink: bytes that belong to a segment go to their place at once, the rest is dropped, but for the
 * headers and the notes. Nothing below 1 MiB is written: the boot parameters are there.
 *
 * Source: System V ABI, ch. 4 and 5; Xen, public/elfnote.h (XEN_ELFNOTE_PHYS32_ENTRY). Threads: the owner's. */
#ifndef HV_BOOT_ELF_H
#define HV_BOOT_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/boot/payload.h"

struct err;
struct memory;

enum { ELF_SEGMENT_MAX = 16, ELF_NOTE_MAX = 4, ELF_NOTE_BYTES_MAX = 16 << 10, ELF_HEAD_BYTES = 4096 };

struct elf_segment {
    uint64_t offset, file_bytes; /* in the file */
    uint64_t gpa, bytes;         /* in memory */
    uint8_t *host;
};

struct elf_note {
    uint64_t offset, bytes; /* in the file */
    uint64_t align;
    uint8_t *data; /* bytes of it */
};

struct elf_loader {
    struct payload_sink sink;
    struct memory *memory;
    uint8_t head[ELF_HEAD_BYTES];
    size_t head_bytes;
    bool parsed;
    uint64_t bytes; /* of the file, so far */
    unsigned segment_count, note_count;
    struct elf_segment segments[ELF_SEGMENT_MAX];
    struct elf_note notes[ELF_NOTE_MAX];
    uint64_t entry;
    uint8_t *placed;       /* what place() returned last */
    uint8_t scratch[4096]; /* for what belongs nowhere */
};

struct elf_kernel {
    uint64_t entry; /* of 64-bit code: e_entry */
    bool has_pvh;
    uint32_t pvh_entry;
    uint64_t start, end; /* of its memory */
};

bool elf_is(const uint8_t *data, size_t bytes);
void elf_loader_init(struct elf_loader *loader, struct memory *memory);
void elf_loader_fini(struct elf_loader *loader);
/* After the last byte: clears what the file leaves out, and tells what was loaded. -EINVAL with a text. */
int elf_loader_finish(struct elf_loader *loader, struct elf_kernel *kernel, struct err *err);

#endif
