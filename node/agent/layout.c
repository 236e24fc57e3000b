#include "node/agent/layout.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MEMBER_GRAIN = 4 << 20,
    FENCE_BYTES = 64 << 10,
    WITNESS_BYTES = 128 << 10,
    JOURNAL_BYTES = 128 * (68 << 10), /* of a member with parity: 128 records of 64 KiB each and its head */
};

/* A table of what the driver serves. */
static const struct kind {
    const char *name;
    unsigned least, step; /* members: least, least + step, ... */
    unsigned parity;      /* members' worth of it */
} kinds[] = {
    {"raid0", 1, 1, 0},   {"raid1", 2, 1, 0}, {"raid10", 4, 2, 0},
    {"replica", 1, 1, 0}, {"raid5", 3, 1, 1}, {"raid6", 4, 1, 2},
};

static const struct kind *find(const char *text, size_t len)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i].name) == len && !strncmp(kinds[i].name, text, len))
            return &kinds[i];
    return NULL;
}

static int judge_count(const struct kind *kind, unsigned long members, char *why, int room)
{
    bool fits = members >= kind->least && members <= LAYOUT_MEMBERS_MAX && (members - kind->least) % kind->step == 0;
    if (fits)
        return 0;
    if (kind->step > 1)
        snprintf(why, (size_t)room, "%s has an even number of members, %u to %d: write for example %s:%u", kind->name,
                 kind->least, LAYOUT_MEMBERS_MAX, kind->name, kind->least);
    else
        snprintf(why, (size_t)room, "%s has %u to %d members: write for example %s:%u", kind->name, kind->least,
                 LAYOUT_MEMBERS_MAX, kind->name, kind->least);
    return -EINVAL;
}

/* A replica of three and more decides by majority; one of two could then not lose either, so it is a mirror. With
 * parity those that are left could be told from those that are missing by their number, but for two and two. */
static void fill(const struct kind *kind, unsigned members, struct layout *l)
{
    *l = (struct layout){.name = kind->name, .members = members, .columns = 1};
    if (kind->parity) {
        l->parity = l->spare = kind->parity;
        l->columns = members - kind->parity;
        l->wants_voter = l->columns <= kind->parity;
    } else if (!strcmp(kind->name, "raid0")) {
        l->columns = members;
    } else if (!strcmp(kind->name, "raid10")) {
        l->columns = members / 2;
        l->spare = 1;
        l->wants_voter = true;
    } else if (!strcmp(kind->name, "replica") && members > 2) {
        l->quorum = members / 2 + 1;
        l->spare = members - l->quorum;
    } else {
        l->spare = members - 1;
        l->wants_voter = members > 1;
    }
}

int layout_parse(const char *text, struct layout *layout, char *why, int room)
{
    size_t len = strcspn(text, ":");
    const struct kind *kind = find(text, len);
    const char *digits = text[len] ? text + len + 1 : "";
    if (!kind || !*digits || strspn(digits, "0123456789") != strlen(digits) || strlen(digits) > 3) {
        snprintf(
            why, (size_t)room,
            "'%.32s' is no layout: write raid0:N, raid1:N, raid5:N, raid6:N, raid10:N or replica:N, such as replica:3",
            text);
        return -EINVAL;
    }
    unsigned long members = strtoul(digits, NULL, 10);
    int rc = judge_count(kind, members, why, room);
    if (!rc)
        fill(kind, (unsigned)members, layout);
    return rc;
}

/* An upper bound: a few thousandths for checksums and maps, and whole regions. Files are sparse, so what is too much
 * costs a directory nothing. */
uint64_t layout_member_bytes(const struct layout *l, uint64_t volume_bytes, uint64_t room_bytes)
{
    uint64_t data = (volume_bytes + l->columns - 1) / l->columns, room = (room_bytes + l->columns - 1) / l->columns;
    uint64_t bytes =
        data + (room > data ? room : data) / 512 + 2 * MEMBER_GRAIN + FENCE_BYTES + (l->parity ? JOURNAL_BYTES : 0);
    return (bytes + MEMBER_GRAIN - 1) / MEMBER_GRAIN * MEMBER_GRAIN;
}

uint64_t layout_witness_bytes(void)
{
    return FENCE_BYTES + WITNESS_BYTES;
}
