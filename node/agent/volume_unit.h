/* The bytes of a volume in a pool of this node: made, grown, served to others, deleted.
 *
 *     NEW --looks--> MAKING --programs ran--> READY --larger size wanted--> GROWING --> READY
 *                       | one failed            +------- not wanted --------------------> DELETING --> GONE
 *                       +--> FAILED, tried again after a while
 *
 * A member in a directory is made larger by the volume's owner, through its server (replication/volume_grow.c).
 *
 * What is being made has another name until it is whole and on stable storage: a crash leaves nothing that looks
 * finished. An encrypted one is its header of 16 MiB, and behind it as many bytes as the volume has. Programs of ours
 * do the work (drover-img, LVM's), so the agent reads no byte of an image. Thread: the loop's. */
#ifndef NODE_AGENT_VOLUME_UNIT_H
#define NODE_AGENT_VOLUME_UNIT_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/export_unit.h"

struct volume_unit;

enum volume_phase {
    VOLUME_MAKING,
    VOLUME_READY,
    VOLUME_GROWING,
    VOLUME_FAILED,
    VOLUME_DELETING,
    VOLUME_GONE,
    VOLUME_PHASE_COUNT,
};

enum volume_driver { VOLUME_DIRECTORY, VOLUME_BLOCK, VOLUME_LVM };

/* Of a volume with a layout: which part of it this is. The bytes begin with a fence, behind which drover-img makes a
 * member, or a witness. */
struct volume_part {
    char volume[40], layout[16];
    unsigned members, quorum;
    int index; /* WITNESS: the volume's witness */
    bool voted, replacement;
    bool copied;                       /* a move brings what is on it: behind the fence nothing is made */
    uint64_t volume_bytes, room_bytes; /* room: what it may grow to, 0: nothing */
};

/* What a volume is made from; texts are copied. */
struct volume_want {
    enum volume_driver driver;
    const char *pool_path;
    uint64_t bytes;
    const char *source;             /* what drover-img copies from; "": nothing */
    const char *key;                /* wrapped (volume_key.h); "": it is not encrypted */
    const char *key_of;             /* the volume's id, which is not that of bytes that came by a move */
    const struct volume_part *part; /* NULL: it is a volume by itself */
    bool served;                    /* to other nodes */
    bool moving;                    /* ... while a guest of this node still has it */
    bool deleting;
};

struct volume_place {
    struct loop *loop;
    struct export_place *exports;
    const char *img;   /* drover-img, an absolute path */
    const char *state; /* folder, where the cluster's volume key is */
};

/* known_made: the store says that it was ready once, so it may hold what a guest wrote (a device does not say so
 * itself). known_uri: where it was served before, or "". changed(): phase, URI or reason. NULL: out of memory. */
struct volume_unit *volume_unit_new(const struct volume_place *place, const char *id, bool known_made,
                                    const char *known_uri, void (*changed)(void *context, struct volume_unit *unit),
                                    void *context);
void volume_unit_want(struct volume_unit *unit, const struct volume_want *want);
/* Its server runs on, unless it is GONE. Turns of the loop are needed afterwards if a program is running. */
void volume_unit_free(struct volume_unit *unit);

const char *volume_unit_id(const struct volume_unit *unit);
enum volume_phase volume_unit_phase(const struct volume_unit *unit);
const char *volume_phase_name(enum volume_phase phase);
const char *volume_unit_path(const struct volume_unit *unit);
const char *volume_unit_uri(const struct volume_unit *unit);    /* "": not served */
const char *volume_unit_reason(const struct volume_unit *unit); /* why it failed, or "" */
uint64_t volume_unit_bytes(const struct volume_unit *unit);     /* as far as it has grown */
bool volume_unit_made(const struct volume_unit *unit);          /* it may hold what a guest wrote, whatever fails now */

#endif
