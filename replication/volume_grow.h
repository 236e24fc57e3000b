/* A volume that becomes larger, as its volume sees it. For the files of volume_core.h only; volume_grow.c tells how. */
#ifndef REPLICATION_VOLUME_GROW_H
#define REPLICATION_VOLUME_GROW_H

#include "nbd/blk.h"
#include "replication/fan.h"

struct growing {
    struct blk_req *req;   /* NULL: nobody wants it larger */
    uint64_t member_bytes; /* what each member is to have */
    enum { GROW_DISKS, GROW_ZEROES, GROW_MAPS, GROW_RECORD } step;
    bool running;     /* a fan is under way */
    member_set grown; /* who has the bytes, and was never lost since */
    member_set told;  /* the same when the maps were written */
    uint64_t at, step_bytes;
    struct fan fan;
    uint8_t *maps;
    size_t maps_bytes;
};

void grow_begin(struct volume *v, struct blk_req *req); /* a RESIZE */
void grow_kick(struct volume *v);
/* The next change is to have the new size. */
bool grow_wants_record(const struct volume *v);
/* What that member was given so far may not be there when it is back. */
void grow_lose(struct volume *v, unsigned member);
/* A change has counted: what it says of the size is so from now on. */
void grow_adopt(struct volume *v);

#endif
