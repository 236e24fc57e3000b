/* See linear.h. */
#include "hv/linear.h"

#include <errno.h>
#include <stdbool.h>

#include "hv/cpu_state.h"
#include "hv/memory.h"

enum { PRESENT = 1, LARGE = 0x80, PAGE = MEMORY_PAGE_BYTES };
enum { CR4_PSE = 0x10, CR4_PAE = 0x20, CR4_LA57 = 0x1000, EFER_LMA = 0x400 };
static const uint64_t cr0_paging = 1ull << 31, address_bits = 0x000ffffffffff000;

/* One level: the entry for linear. False: not there. */
static bool entry_at(const struct memory *memory, uint64_t table, unsigned shift, unsigned bits, unsigned bytes,
                     uint64_t linear, uint64_t *entry)
{
    uint64_t index = linear >> shift & ((1u << bits) - 1);
    *entry = 0; /* a short one leaves the rest */
    return memory_read(memory, table + index * bytes, entry, bytes) == 0 && *entry & PRESENT;
}

static int walk_32(const struct memory *memory, const struct cpu_state *cpu, uint32_t linear, uint64_t *gpa)
{
    uint64_t e;
    if (!entry_at(memory, cpu->cr3 & 0xfffff000, 22, 10, 4, linear, &e))
        return -EFAULT;
    if (e & LARGE && cpu->cr4 & CR4_PSE) {
        *gpa = (e & 0xffc00000) | (e >> 13 & 0xff) << 32 | (linear & 0x3fffff);
        return 0;
    }
    if (!entry_at(memory, e & 0xfffff000, 12, 10, 4, linear, &e))
        return -EFAULT;
    *gpa = (e & 0xfffff000) | (linear & (PAGE - 1));
    return 0;
}

/* Entries of 8 bytes, from the level of `shift` down; levels of 30 and 21 may end with a large page. */
static int walk_64(const struct memory *memory, uint64_t table, unsigned shift, bool giant, uint64_t linear,
                   uint64_t *gpa)
{
    uint64_t e;
    for (;; shift -= 9) {
        if (!entry_at(memory, table & address_bits, shift, 9, 8, linear, &e))
            return -EFAULT;
        if (shift == 12 || (e & LARGE && (shift == 21 || (shift == 30 && giant))))
            break;
        table = e;
    }
    uint64_t inside = (1ull << shift) - 1;
    *gpa = (e & address_bits & ~inside) | (linear & inside);
    return 0;
}

static int walk_pae(const struct memory *memory, const struct cpu_state *cpu, uint32_t linear, uint64_t *gpa)
{
    uint64_t e;
    if (!entry_at(memory, cpu->cr3 & 0xffffffe0, 30, 2, 8, linear, &e))
        return -EFAULT;
    return walk_64(memory, e, 21, false, linear, gpa);
}

int linear_gpa(const struct memory *memory, const struct cpu_state *cpu, uint64_t linear, uint64_t *gpa)
{
    bool long_mode = cpu->efer & EFER_LMA;
    if (!long_mode && linear > UINT32_MAX)
        return -EFAULT;
    if (!(cpu->cr0 & cr0_paging)) {
        *gpa = linear;
        return 0;
    }
    if (long_mode) {
        unsigned shift = cpu->cr4 & CR4_LA57 ? 48 : 39, unused = 63 - 8 - shift;
        if ((uint64_t)((int64_t)(linear << unused) >> unused) != linear)
            return -EFAULT;
        return walk_64(memory, cpu->cr3, shift, true, linear, gpa);
    }
    if (cpu->cr4 & CR4_PAE)
        return walk_pae(memory, cpu, (uint32_t)linear, gpa);
    return walk_32(memory, cpu, (uint32_t)linear, gpa);
}

static size_t in_page(uint64_t linear, size_t bytes)
{
    size_t left = PAGE - (size_t)(linear & (PAGE - 1));
    return bytes < left ? bytes : left;
}

size_t linear_read(const struct memory *memory, const struct cpu_state *cpu, uint64_t linear, void *to, size_t bytes)
{
    uint64_t gpa;
    size_t done = 0;
    while (done < bytes) {
        size_t n = in_page(linear + done, bytes - done);
        if (linear_gpa(memory, cpu, linear + done, &gpa) || memory_read(memory, gpa, (char *)to + done, n))
            break;
        done += n;
    }
    return done;
}

size_t linear_write(struct memory *memory, const struct cpu_state *cpu, uint64_t linear, const void *from, size_t bytes)
{
    uint64_t gpa;
    size_t done = 0;
    while (done < bytes) {
        size_t n = in_page(linear + done, bytes - done);
        if (linear_gpa(memory, cpu, linear + done, &gpa) || memory_write(memory, gpa, (const char *)from + done, n))
            break;
        done += n;
    }
    return done;
}
