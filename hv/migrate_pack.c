#include "hv/migrate_pack.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

#include "hv/migrate_wire.h"
#include "node/base/err.h"

enum { LEVEL = 1 };

struct migrate_pack {
    ZSTD_CCtx *packs;
    ZSTD_DCtx *unpacks;
    uint8_t pages[MIGRATE_RUN_BYTES], packed[MIGRATE_RUN_BYTES];
};

struct migrate_pack *migrate_pack_new(struct err *err)
{
    struct migrate_pack *p = calloc(1, sizeof *p);
    if (!p)
        err_set(err, ENOMEM, "no memory for compressed pages");
    return p;
}

void migrate_pack_free(struct migrate_pack *p)
{
    if (!p)
        return;
    ZSTD_freeCCtx(p->packs);
    ZSTD_freeDCtx(p->unpacks);
    free(p);
}

static uint64_t processor_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

size_t migrate_pack_pages(struct migrate_pack *p, const uint8_t *pages, size_t bytes, const uint8_t **out,
                          uint64_t *spent_ns)
{
    uint64_t began = processor_ns();
    *spent_ns = 0;
    p->packs = p->packs ? p->packs : ZSTD_createCCtx();
    if (!p->packs || !bytes || bytes > sizeof p->pages)
        return 0;
    memcpy(p->pages, pages, bytes);
    size_t n = ZSTD_compressCCtx(p->packs, p->packed, bytes - 1, p->pages, bytes, LEVEL);
    *out = p->packed;
    *spent_ns = processor_ns() - began;
    return ZSTD_isError(n) ? 0 : n;
}

uint8_t *migrate_pack_room(struct migrate_pack *p, struct err *err)
{
    p->unpacks = p->unpacks ? p->unpacks : ZSTD_createDCtx();
    if (!p->unpacks)
        err_set(err, ENOMEM, "no memory for compressed pages");
    return p->unpacks ? p->packed : NULL;
}

/* libzstd knows formats of its past and frames to be skipped, too: nobody sends those. */
static int is_one_frame(const uint8_t *packed, size_t bytes)
{
    uint32_t magic;
    if (bytes <= sizeof magic)
        return 0;
    memcpy(&magic, packed, sizeof magic);
    return le32toh(magic) == ZSTD_MAGICNUMBER && ZSTD_findFrameCompressedSize(packed, bytes) == bytes;
}

int migrate_pack_unpack(struct migrate_pack *p, size_t bytes, size_t page_bytes, const uint8_t **pages, struct err *err)
{
    size_t n = 0;
    if (page_bytes <= sizeof p->pages && bytes <= sizeof p->packed && is_one_frame(p->packed, bytes))
        n = ZSTD_decompressDCtx(p->unpacks, p->pages, page_bytes, p->packed, bytes);
    if (n != page_bytes || !page_bytes)
        return err_set(err, EPROTO, "the other side sent %zu compressed bytes that are not the %zu they should be",
                       bytes, page_bytes);
    *pages = p->pages;
    return 0;
}
