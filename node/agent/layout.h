/* The layouts that volumes over several members may have, as people write them: "raid1:2", "replica:3". What each needs
 * is a table; what stands in it is what the driver of replication/ serves (docs/replication.md).
 *
 * Pure; any thread. */
#ifndef NODE_AGENT_LAYOUT_H
#define NODE_AGENT_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

enum { LAYOUT_MEMBERS_MAX = 16 };

struct layout {
    const char *name; /* as drover-img and the driver call it */
    unsigned members; /* that have data */
    unsigned quorum;  /* members that must have every write; 0: no such rule */
    bool wants_voter; /* a witness on a further node lets it begin without one of its members */
    unsigned spare;   /* so many members may surely be lost */
    unsigned columns; /* members' worth of data that it holds */
    unsigned parity;  /* and of parity */
};

/* 0, or -EINVAL and in why (of room bytes) what would be right. */
int layout_parse(const char *text, struct layout *layout, char *why, int room);

/* What a member takes at most, with its superblocks, journal, and the fence in front of it, and with checksums and maps
 * for what the volume may grow to (room_bytes; 0: it may not). */
uint64_t layout_member_bytes(const struct layout *layout, uint64_t volume_bytes, uint64_t room_bytes);
/* The same of a witness. */
uint64_t layout_witness_bytes(void);

#endif
