/* Somebody outside of the members who remembers the last change of a volume's set, so that one half of a mirror can
 * prove that the other did not go on without it. It holds a superblock. Thread: the loop's. */
#ifndef REPLICATION_WITNESS_H
#define REPLICATION_WITNESS_H

#include "replication/superblock.h"

struct witness {
    /* Reads what it knows; may turn the loop. 0 or -errno: it is not there. NONE: it was never told anything. */
    int (*recall)(struct witness *w, enum superblock_verdict *verdict, struct superblock *sb);
    /* Makes sb durable; told() later, once, from the loop, with 0 or -errno. One at a time. */
    void (*record)(struct witness *w, const struct superblock *sb, void (*told)(void *context, int result),
                   void *context);
    /* Is it there? asked() later, once, from the loop. One at a time; a record may be made meanwhile. */
    void (*ask)(struct witness *w, void (*asked)(void *context, int result), void *context);
    /* What it has been at for longer than that has failed. */
    void (*hurry)(struct witness *w, uint64_t patience_ns);
    void (*free)(struct witness *w); /* nothing may be on its way */
};

#endif
