/* Translation: who may do what to a page, what the error code says, what is remembered and for how long. */
#include "tests/hv/payload/payload.h"

static uint64_t cr0(void)
{
    uint64_t v;
    __asm__ volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}

static void set_cr0(uint64_t v)
{
    __asm__ volatile("mov %0, %%cr0" ::"r"(v) : "memory");
}

static void reads(uint64_t address)
{
    CATCH("mov (%0), %%rbx\n", ::"r"(address) : "rax", "rbx", "memory");
}

static void writes(uint64_t address)
{
    CATCH("movq $7, (%0)\n", ::"r"(address) : "rax", "memory");
}

static void calls(uint64_t address)
{
    CATCH("mov %%rsp, %%rbx\n call *%0\n", "mov %%rbx, %%rsp" ::"r"(address) : "rax", "rbx", "memory");
}

static bool page_fault(uint64_t code, uint64_t address)
{
    return caught.vector == PF && caught.code == code && caught.cr2 == address;
}

static void permissions(void)
{
    uint64_t a = WINDOW + 0x1000, page = (uint64_t)fresh_page();
    map(a, 0, 0);
    reads(a + 8);
    check("#PF(0): read of a page that is not there", page_fault(0, a + 8));
    writes(a + 16);
    check("#PF(W): write to a page that is not there", page_fault(PF_WRITE, a + 16));
    map(a, page, 1);
    reads(a);
    check("read of a read-only page", caught.vector == NONE);
    writes(a);
    check("#PF(P W): write to a read-only page", page_fault(PF_PRESENT | PF_WRITE, a));
    set_cr0(cr0() & ~0x10000ull);
    writes(a);
    check("write to a read-only page without CR0.WP", caught.vector == NONE && *(uint64_t *)page == 7);
    set_cr0(cr0() | 0x10000);
    writes(a);
    check("CR0.WP again", page_fault(PF_PRESENT | PF_WRITE, a));
    map(a, page, 3 | 1ull << 63);
    *(uint8_t *)a = 0xc3;
    calls(a);
    check("#PF(P I): fetch from a no-execute page", page_fault(PF_PRESENT | PF_FETCH, a));
    map(a, page, 3);
    calls(a);
    check("fetch from an executable page", caught.vector == NONE);
    *window_entry(a) = page | 1ull << 51 | 3;
    invlpg(a);
    reads(a);
    check("#PF(P R): reserved bit", page_fault(PF_PRESENT | PF_RESERVED, a));
}

static void crossing(void)
{
    uint64_t a = WINDOW + 0x3000, first = (uint64_t)fresh_page(), second = (uint64_t)fresh_page();
    map(a, first, 3);
    map(a + 0x1000, second, 3);
    *(volatile uint64_t *)(a + 0xffc) = 0x1122334455667788;
    check("a write across two pages", *(uint32_t *)(first + 0xffc) == 0x55667788 && *(uint32_t *)second == 0x11223344);
    *(uint32_t *)second = 0;
    map(a + 0x1000, second, 1);
    writes(a + 0xffc);
    check("#PF of its second half: nothing is written",
          page_fault(PF_PRESENT | PF_WRITE, a + 0x1000) && *(uint32_t *)(first + 0xffc) == 0x55667788);
    map(a + 0x1000, 0, 0);
    reads(a + 0xffd);
    check("#PF of a read's second half names the second page", page_fault(0, a + 0x1000));
}

static void remembered(void)
{
    uint64_t a = WINDOW + 0x6000, page = (uint64_t)fresh_page(), other = (uint64_t)fresh_page();
    *(uint64_t *)page = 1;
    *(uint64_t *)other = 2;
    map(a, page, 3);
    check("accessed and dirty: clear at first", (*window_entry(a) & 0x60) == 0);
    (void)*(volatile uint64_t *)a;
    check("accessed by a read", (*window_entry(a) & 0x60) == 0x20);
    *(volatile uint64_t *)a = 1;
    check("dirty by a write", (*window_entry(a) & 0x60) == 0x60);
    *window_entry(a) = other | 3;
    invlpg(a);
    check("INVLPG", *(volatile uint64_t *)a == 2);
    *window_entry(a) = page | 3;
    reload_cr3();
    check("a load of CR3", *(volatile uint64_t *)a == 1);
    write_cr4(read_cr4() | 0x80);
    map(a, page, 3 | 0x100);
    (void)*(volatile uint64_t *)a;
    *window_entry(a) = other | 3 | 0x100;
    write_cr4(read_cr4() & ~0x80ull);
    check("global pages go when CR4.PGE does", *(volatile uint64_t *)a == 2);
}

static void large(void)
{
    uint8_t *page = fresh_page();
    uint64_t a = 0x80000000 + (uint64_t)page, old = directory[1024];
    *page = 0x5a;
    /* 2 GiB and up, 2 MiB by 2 MiB, onto the first 2 MiB and what follows */
    for (unsigned i = 0; i < 4; i++)
        directory[1024 + i] = (uint64_t)i << 21 | 0x83;
    reload_cr3();
    check("a 2 MiB page", *(volatile uint8_t *)a == 0x5a);
    directory[1024] = old;
    uint64_t saved = pdpt[2];
    pdpt[2] = 0x83; /* a 1 GiB page at 2 GiB onto 0 */
    reload_cr3();
    uint32_t r[4];
    cpuid(0x80000001, 0, r);
    if (r[3] >> 26 & 1) {
        check("a 1 GiB page", *(volatile uint8_t *)a == 0x5a);
        pdpt[2] = 0x83 | 1 << 13;
        reload_cr3();
        reads(a);
        check("#PF(P R): reserved bit of a 1 GiB page",
              caught.vector == PF && caught.code == (PF_PRESENT | PF_RESERVED));
    }
    pdpt[2] = saved;
    for (unsigned i = 0; i < 4; i++)
        directory[1024 + i] = (uint64_t)(1024 + i) << 21 | 0x83;
    reload_cr3();
}

static void smep(void)
{
    uint32_t r[4];
    uint64_t a = WINDOW + 0x8000;
    uint8_t *page = fresh_page();
    cpuid(7, 0, r);
    if (!(r[1] >> 7 & 1))
        return;
    page[0] = 0xc3;
    map(a, (uint64_t)page, 7);
    calls(a);
    check("ring 0 calls a user page without SMEP", caught.vector == NONE);
    write_cr4(read_cr4() | 1 << 20);
    calls(a);
    check("#PF(P I): SMEP", page_fault(PF_PRESENT | PF_FETCH, a));
    write_cr4(read_cr4() & ~(1ull << 20));
}

void test_paging(void)
{
    permissions();
    crossing();
    remembered();
    large();
    smep();
}
