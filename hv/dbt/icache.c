/* See icache.h. */
#include "hv/dbt/icache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hv/dbt/vm.h"
#include "hv/memory.h"

enum { ARENA_BYTES = 16 << 20, RUN_MAX = 32, PAGE = MEMORY_PAGE_BYTES };

struct icache_page {
    const uint8_t *host;
    struct icache_page *next;
    struct icache_run *first;
};

struct icache *icache_new(void)
{
    struct icache *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->arena = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (c->arena == MAP_FAILED) {
        free(c);
        return NULL;
    }
    return c;
}

void icache_free(struct icache *c)
{
    if (!c)
        return;
    munmap(c->arena, ARENA_BYTES);
    free(c);
}

size_t icache_bytes(const struct icache *c)
{
    return sizeof *c + c->used;
}

void icache_drop_all(struct icache *c)
{
    memset(c->runs, 0, sizeof c->runs);
    memset(c->pages, 0, sizeof c->pages);
    c->last = NULL;
    c->used = 0;
}

/* The caller has seen to it that there is room. */
static void *take(struct icache *c, size_t bytes)
{
    void *at = c->arena + c->used;
    c->used += (bytes + 15) & ~(size_t)15;
    return at;
}

static const uint8_t *page_of(const uint8_t *host)
{
    return (const uint8_t *)((uintptr_t)host & ~(uintptr_t)(PAGE - 1));
}

static struct icache_page **find_page(struct icache *c, const uint8_t *page)
{
    struct icache_page **link = &c->pages[icache_hash(page)];
    while (*link && (*link)->host != page)
        link = &(*link)->next;
    return link;
}

void icache_drop_page(struct icache *c, const uint8_t *host)
{
    struct icache_page **link = find_page(c, host), *page = *link;
    if (!page)
        return;
    for (struct icache_run *run = page->first; run; run = run->next_page) {
        struct icache_run **at = &c->runs[icache_hash(run->host)];
        while (*at != run)
            at = &(*at)->next_hash;
        *at = run->next_hash;
        run->host = NULL;
    }
    page->first = NULL;
    c->last = NULL; /* it may have been one of them */
}

static void insert(struct icache *c, struct icache_run *run)
{
    const uint8_t *host = page_of(run->host);
    struct icache_page **link = find_page(c, host), *page = *link;
    if (!page) {
        page = *link = take(c, sizeof *page);
        *page = (struct icache_page){.host = host};
    }
    run->next_page = page->first;
    page->first = run;
    struct icache_run **bucket = &c->runs[icache_hash(run->host)];
    run->next_hash = *bucket;
    *bucket = run;
}

struct icache_run *icache_build(struct dbt_cpu *cpu, const uint8_t *host)
{
    struct icache *c = cpu->icache;
    size_t most = sizeof(struct icache_run) + RUN_MAX * sizeof(struct icache_op) + sizeof(struct icache_page) + 64;
    if (c->used + most > ARENA_BYTES)
        icache_drop_all(c);
    dbt_watch_code(cpu, page_of(host));
    struct icache_run *run = (struct icache_run *)(void *)(c->arena + c->used); /* taken when its size is known */
    *run = (struct icache_run){.host = host, .code_bytes = cpu->code_bytes};
    unsigned room = PAGE - ((uintptr_t)host & (PAGE - 1));
    while (!run->ends && run->straight < RUN_MAX - 1) {
        struct icache_op *op = &run->ops[run->straight];
        uint8_t code[INSN_BYTES_MAX]; /* a copy: others may write it meanwhile */
        unsigned left = room - run->bytes, available = left < sizeof code ? left : (unsigned)sizeof code;
        memcpy(code, host + run->bytes, available);
        int length = insn_decode(&op->insn, code, available, cpu->code_bytes);
        if (length <= 0)
            break;
        op->exec = exec_bind(&op->insn);
        run->bytes = (uint16_t)(run->bytes + length);
        if (insn_ends_run(&op->insn))
            run->ends = true;
        else
            run->straight++;
    }
    if (!run->ends && !run->straight)
        return NULL;
    take(c, sizeof *run + (run->straight + run->ends) * sizeof(struct icache_op));
    insert(c, run);
    return run;
}
