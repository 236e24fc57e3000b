#include "replication/geometry.h"

#include <errno.h>
#include <string.h>

#include "node/base/err.h"

static const char *const names[LAYOUT_COUNT] = {"raid0", "raid1", "raid10", "raid5", "raid6", "replica"};

static const unsigned members_min[LAYOUT_COUNT] = {1, 2, 4, 3, 4, 1};

const char *layout_name(enum layout layout)
{
    return (unsigned)layout < LAYOUT_COUNT ? names[layout] : "unknown";
}

int layout_of_name(const char *name)
{
    for (int i = 0; i < LAYOUT_COUNT; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

static bool power_of_two(uint64_t n)
{
    return n && !(n & (n - 1));
}

int geometry_check(const struct geometry *g, struct err *err)
{
    if ((unsigned)g->layout >= LAYOUT_COUNT)
        return err_set(err, EINVAL, "layout %u is unknown", (unsigned)g->layout);
    if (g->members < members_min[g->layout] || g->members > MEMBERS_MAX)
        return err_set(err, EINVAL, "%s takes %u to %d members, not %u", names[g->layout], members_min[g->layout],
                       MEMBERS_MAX, g->members);
    if (g->layout == LAYOUT_RAID10 && g->members % 2)
        return err_set(err, EINVAL, "raid10 takes an even number of members, not %u", g->members);
    if (!power_of_two(g->region_bytes) || g->region_bytes < REGION_MIN_BYTES || g->region_bytes > REGION_MAX_BYTES)
        return err_set(err, EINVAL, "a region must be a power of two from 256K to 64M");
    if (!power_of_two(g->chunk_bytes) || g->chunk_bytes < BLOCK_BYTES || g->chunk_bytes > g->region_bytes)
        return err_set(err, EINVAL, "a chunk must be a power of two from 4K to the size of a region (%u)",
                       g->region_bytes);
    if (!g->member_bytes || g->member_bytes % g->region_bytes || g->member_bytes > UINT64_C(1) << 56)
        return err_set(err, EINVAL, "a member's data must be a multiple of a region (%u bytes), at least one",
                       g->region_bytes);
    if (g->room_bytes &&
        (g->room_bytes < g->member_bytes || g->room_bytes % g->region_bytes || g->room_bytes > UINT64_C(1) << 56))
        return err_set(err, EINVAL,
                       "what a member may grow to must be a multiple of a region (%u bytes), and not less "
                       "than it has",
                       g->region_bytes);
    return 0;
}

unsigned geometry_parity(const struct geometry *g)
{
    return g->layout == LAYOUT_RAID5 ? 1 : g->layout == LAYOUT_RAID6 ? 2 : 0;
}

unsigned geometry_copies(const struct geometry *g)
{
    switch (g->layout) {
    case LAYOUT_RAID1:
    case LAYOUT_REPLICA:
        return g->members;
    case LAYOUT_RAID10:
        return 2;
    default:
        return 1;
    }
}

unsigned geometry_columns(const struct geometry *g)
{
    return g->members / geometry_copies(g) - geometry_parity(g);
}

uint64_t geometry_volume_bytes(const struct geometry *g)
{
    return g->member_bytes * geometry_columns(g);
}

uint64_t geometry_span_bytes(const struct geometry *g)
{
    return (uint64_t)g->region_bytes * geometry_columns(g);
}

uint32_t geometry_granule_bytes(const struct geometry *g)
{
    return g->region_bytes / GRANULES;
}

uint64_t geometry_regions(const struct geometry *g)
{
    return g->member_bytes / g->region_bytes;
}

uint64_t geometry_room_regions(const struct geometry *g)
{
    return (g->room_bytes ? g->room_bytes : g->member_bytes) / g->region_bytes;
}

uint64_t geometry_member_bytes(const struct geometry *g, uint64_t volume_bytes)
{
    uint64_t columns = geometry_columns(g), each = volume_bytes / columns + (volume_bytes % columns != 0);
    return (each + g->region_bytes - 1) / g->region_bytes * g->region_bytes;
}

member_set geometry_all(const struct geometry *g)
{
    return (UINT32_C(1) << g->members) - 1;
}

member_set geometry_holders(const struct geometry *g, unsigned column)
{
    unsigned copies = geometry_copies(g);
    return ((UINT32_C(1) << copies) - 1) << (column * copies);
}

bool geometry_can_serve(const struct geometry *g, member_set set)
{
    unsigned parity = geometry_parity(g);
    if (parity)
        return (unsigned)__builtin_popcount(set & geometry_all(g)) >= g->members - parity;
    for (unsigned c = 0; c < geometry_columns(g); c++)
        if (!(set & geometry_holders(g, c)))
            return false;
    return true;
}

/* With one column there is nothing to deal out: the whole region is one chunk. */
static uint32_t dealt_bytes(const struct geometry *g)
{
    return geometry_columns(g) == 1 ? g->region_bytes : g->chunk_bytes;
}

unsigned geometry_data_member(const struct geometry *g, uint64_t stripe, unsigned chunk)
{
    return (geometry_parity_member(g, stripe, 0) + geometry_parity(g) + chunk) % g->members;
}

unsigned geometry_parity_member(const struct geometry *g, uint64_t stripe, unsigned which)
{
    return (g->members - 1 - (unsigned)(stripe % g->members) + which) % g->members;
}

unsigned geometry_vector_member(const struct geometry *g, uint64_t stripe, unsigned vector)
{
    unsigned columns = geometry_columns(g);
    return vector < columns ? geometry_data_member(g, stripe, vector)
                            : geometry_parity_member(g, stripe, vector - columns);
}

void geometry_locate(const struct geometry *g, uint64_t at, unsigned *column, uint64_t *offset, uint32_t *run_bytes)
{
    uint32_t dealt = dealt_bytes(g), within = (uint32_t)(at % dealt);
    uint64_t chunk = at / dealt, row = chunk / geometry_columns(g);
    unsigned place = (unsigned)(chunk % geometry_columns(g));
    *column = geometry_parity(g) ? geometry_data_member(g, row, place) : place;
    *offset = row * dealt + within;
    *run_bytes = dealt - within;
}

unsigned geometry_parts(const struct geometry *g, uint64_t offset, uint32_t length_bytes, struct geometry_part *parts)
{
    uint32_t dealt = dealt_bytes(g);
    unsigned columns = geometry_columns(g), n = 0;
    uint64_t last_byte = offset + length_bytes - 1;
    uint64_t first = offset / dealt, last = last_byte / dealt;
    for (uint64_t c = first; c <= last && c < first + columns; c++) {
        uint64_t final = c + (last - c) / columns * columns; /* the column's last chunk in the range */
        uint64_t start = c / columns * dealt + (c == first ? offset % dealt : 0);
        uint64_t end = final / columns * dealt + (final == last ? last_byte % dealt + 1 : dealt);
        parts[n++] = (struct geometry_part){(unsigned)(c % columns), start, (uint32_t)(end - start)};
    }
    return n;
}
