/* The moves of volumes that this node conducts (volume_move.h): what the guest's process is asked, the program that
 * copies where no guest has the volume, the switch-over, and what is reported. Thread: the loop's. */
#ifndef NODE_AGENT_VOLUME_MOVES_H
#define NODE_AGENT_VOLUME_MOVES_H

struct err;
struct loop;
struct report;
struct volume_moves;
struct volume_place;
struct volume_watch_place;

/* place is copied, the rest is lent. */
struct volume_moves *volume_moves_new(struct loop *loop, struct report *report, const struct volume_watch_place *place,
                                      const struct volume_place *volumes, struct err *err);
/* What is copied by guests goes on; whoever comes after us sees how far they are. Then turns of the loop. */
void volume_moves_free(struct volume_moves *moves);

#endif
