/* See elf.h. Segments are checked once, when the headers are there: each lies wholly in RAM, and no two of them want
 * the same bytes of the file. After that, placing is arithmetic. */
#include "hv/boot/elf.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/boot/view.h"
#include "hv/memory.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { XEN_PHYS32_ENTRY = 18, PAGE_ZERO_END = 1 << 20, SEGMENT_BYTES_MAX = 1 << 30, NOTE_HEAD_BYTES = 12 };

bool elf_is(const uint8_t *data, size_t bytes)
{
    return bytes > SELFMAG && !memcmp(data, ELFMAG, SELFMAG);
}

/* ---- headers ---- */

static int add_segment(struct elf_loader *l, const Elf64_Phdr *p, unsigned i, struct err *err)
{
    if (l->segment_count == ELF_SEGMENT_MAX)
        return err_set(err, EINVAL, "it has more than %d segments to load", ELF_SEGMENT_MAX);
    if (p->p_filesz > p->p_memsz || p->p_offset + p->p_filesz < p->p_offset)
        return err_set(err, EINVAL, "segment %u is larger in the file than in memory, or wraps around", i);
    if (p->p_memsz > SEGMENT_BYTES_MAX || p->p_paddr < PAGE_ZERO_END)
        return err_set(err, EINVAL,
                       "segment %u wants %#llx bytes at %#llx: it must lie above 1 MiB and have at most 1 GiB", i,
                       (unsigned long long)p->p_memsz, (unsigned long long)p->p_paddr);
    uint8_t *host = memory_at_writable(l->memory, p->p_paddr, p->p_memsz);
    if (!host)
        return err_set(err, ENOSPC, "segment %u wants memory up to %llu MiB, and the guest has %llu MiB: give it more",
                       i, (unsigned long long)((p->p_paddr + p->p_memsz) >> 20) + 1,
                       (unsigned long long)memory_size(l->memory) >> 20);
    for (unsigned k = 0; k < l->segment_count; k++) {
        const struct elf_segment *s = &l->segments[k];
        bool share_file = p->p_offset < s->offset + s->file_bytes && s->offset < p->p_offset + p->p_filesz;
        bool share_memory = p->p_paddr < s->gpa + s->bytes && s->gpa < p->p_paddr + p->p_memsz;
        if (share_file || share_memory)
            return err_set(err, EINVAL, "segment %u overlaps another one", i);
    }
    l->segments[l->segment_count++] = (struct elf_segment){
        .offset = p->p_offset, .file_bytes = p->p_filesz, .gpa = p->p_paddr, .bytes = p->p_memsz, .host = host};
    return 0;
}

/* Only as much as can be kept: what is larger is not the note that is looked for. */
static int add_note(struct elf_loader *l, const Elf64_Phdr *p, struct err *err)
{
    if (l->note_count == ELF_NOTE_MAX || !p->p_filesz || p->p_filesz > ELF_NOTE_BYTES_MAX ||
        p->p_offset + p->p_filesz < p->p_offset)
        return 0;
    struct elf_note *note = &l->notes[l->note_count];
    *note = (struct elf_note){.offset = p->p_offset, .bytes = p->p_filesz, .align = p->p_align == 8 ? 8 : 4};
    note->data = calloc(1, p->p_filesz);
    if (!note->data)
        return err_set(err, ENOMEM, "no memory for its notes");
    l->note_count++;
    return 0;
}

static int check_header(const Elf64_Ehdr *e, struct err *err)
{
    if (memcmp(e->e_ident, ELFMAG, SELFMAG))
        return err_set(err, EINVAL, "it is no ELF file");
    if (e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_ident[EI_DATA] != ELFDATA2LSB || e->e_machine != EM_X86_64)
        return err_set(err, EINVAL, "it is an ELF file for another machine than x86-64");
    if (e->e_type != ET_EXEC && e->e_type != ET_DYN)
        return err_set(err, EINVAL, "it is an ELF file, but no program (its type is %u)", e->e_type);
    if (e->e_phentsize != sizeof(Elf64_Phdr) || !e->e_phnum || e->e_phoff > ELF_HEAD_BYTES ||
        e->e_phnum > (ELF_HEAD_BYTES - e->e_phoff) / sizeof(Elf64_Phdr))
        return err_set(err, EINVAL, "its program headers are not within its first %d bytes", ELF_HEAD_BYTES);
    return 0;
}

static void keep_notes(struct elf_loader *l, uint64_t offset, const uint8_t *data, size_t bytes);

static int parse(struct elf_loader *l, struct err *err)
{
    Elf64_Ehdr e;
    memcpy(&e, l->head, sizeof e); /* zeroes where the file is shorter */
    int rc = check_header(&e, err);
    for (unsigned i = 0; !rc && i < e.e_phnum; i++) {
        Elf64_Phdr p;
        memcpy(&p, l->head + e.e_phoff + i * sizeof p, sizeof p);
        if (p.p_type == PT_LOAD && p.p_memsz)
            rc = add_segment(l, &p, i, err);
        else if (p.p_type == PT_NOTE)
            rc = add_note(l, &p, err);
    }
    if (rc)
        return rc;
    if (!l->segment_count)
        return err_set(err, EINVAL, "it is an ELF file with nothing to load");
    l->entry = e.e_entry;
    l->parsed = true;
    for (unsigned i = 0; i < l->segment_count; i++) { /* what of the head is loaded, too */
        const struct elf_segment *s = &l->segments[i];
        if (s->offset < l->head_bytes) {
            uint64_t n = l->head_bytes - s->offset;
            memcpy(s->host, l->head + s->offset, n < s->file_bytes ? n : s->file_bytes);
        }
    }
    keep_notes(l, 0, l->head, l->head_bytes);
    return 0;
}

/* ---- the stream ---- */

/* The part of [offset, offset + bytes) that is a note's. */
static void keep_notes(struct elf_loader *l, uint64_t offset, const uint8_t *data, size_t bytes)
{
    for (unsigned i = 0; i < l->note_count; i++) {
        const struct elf_note *n = &l->notes[i];
        uint64_t from = n->offset > offset ? n->offset : offset;
        uint64_t note_end = n->offset + n->bytes, end = offset + bytes;
        uint64_t to = note_end < end ? note_end : end;
        if (from < to)
            memcpy(n->data + (from - n->offset), data + (from - offset), to - from);
    }
}

static uint8_t *elf_place(struct payload_sink *sink, uint64_t offset, size_t *room)
{
    struct elf_loader *l = CONTAINER_OF(sink, struct elf_loader, sink);
    uint64_t next = UINT64_MAX;
    if (!l->parsed) {
        *room = ELF_HEAD_BYTES - l->head_bytes;
        return l->placed = l->head + l->head_bytes;
    }
    for (unsigned i = 0; i < l->segment_count; i++) {
        const struct elf_segment *s = &l->segments[i];
        if (offset >= s->offset && offset - s->offset < s->file_bytes) {
            *room = (size_t)(s->file_bytes - (offset - s->offset));
            return l->placed = s->host + (offset - s->offset);
        }
        if (s->offset > offset && s->offset < next)
            next = s->offset;
    }
    *room = next - offset < sizeof l->scratch ? (size_t)(next - offset) : sizeof l->scratch;
    return l->placed = l->scratch;
}

static int elf_filled(struct payload_sink *sink, uint64_t offset, size_t bytes, struct err *err)
{
    struct elf_loader *l = CONTAINER_OF(sink, struct elf_loader, sink);
    l->bytes = offset + bytes;
    if (l->parsed) {
        keep_notes(l, offset, l->placed, bytes);
        return 0;
    }
    l->head_bytes += bytes;
    return l->head_bytes == ELF_HEAD_BYTES ? parse(l, err) : 0;
}

void elf_loader_init(struct elf_loader *l, struct memory *memory)
{
    memset(l, 0, sizeof *l);
    l->sink = (struct payload_sink){.place = elf_place, .filled = elf_filled};
    l->memory = memory;
}

void elf_loader_fini(struct elf_loader *l)
{
    for (unsigned i = 0; i < l->note_count; i++)
        free(l->notes[i].data);
    l->note_count = 0;
}

/* ---- the end ---- */

static uint64_t padded(uint64_t n, uint64_t align)
{
    return (n + align - 1) & ~(align - 1);
}

static void find_pvh(const struct elf_note *note, struct elf_kernel *kernel)
{
    const struct view v = {note->data, (size_t)note->bytes};
    uint64_t at = 0;
    while (view_at(&v, at, NOTE_HEAD_BYTES)) {
        uint32_t name_bytes = view_u32(&v, at), bytes = view_u32(&v, at + 4), type = view_u32(&v, at + 8);
        const uint8_t *name = view_at(&v, at + NOTE_HEAD_BYTES, name_bytes);
        uint64_t data = at + padded(NOTE_HEAD_BYTES + (uint64_t)name_bytes, note->align);
        if (name && name_bytes == 4 && !memcmp(name, "Xen", 4) && type == XEN_PHYS32_ENTRY && view_at(&v, data, 4) &&
            (bytes == 4 || (bytes == 8 && !view_u32(&v, data + 4)))) {
            kernel->pvh_entry = view_u32(&v, data);
            kernel->has_pvh = true;
        }
        at = data + padded(bytes, note->align);
    }
}

int elf_loader_finish(struct elf_loader *l, struct elf_kernel *kernel, struct err *err)
{
    int rc = l->parsed ? 0 : parse(l, err);
    if (rc)
        return rc;
    *kernel = (struct elf_kernel){.entry = l->entry, .start = UINT64_MAX};
    for (unsigned i = 0; i < l->segment_count; i++) {
        const struct elf_segment *s = &l->segments[i];
        if (s->file_bytes && s->offset + s->file_bytes > l->bytes)
            return err_set(err, EINVAL, "it ends after %llu bytes, and its segments go on to %llu: the file is cut off",
                           (unsigned long long)l->bytes, (unsigned long long)(s->offset + s->file_bytes));
        memset(s->host + s->file_bytes, 0, s->bytes - s->file_bytes);
        memory_touched(l->memory, s->gpa, s->bytes);
        kernel->start = s->gpa < kernel->start ? s->gpa : kernel->start;
        kernel->end = s->gpa + s->bytes > kernel->end ? s->gpa + s->bytes : kernel->end;
    }
    for (unsigned i = 0; i < l->note_count; i++)
        find_pvh(&l->notes[i], kernel);
    return 0;
}
