/* The description of a disk's stack while what it lies on moves (nbd/move.h): the layer comes and goes. Pure functions
 * of JSON. Threads: any. */
#ifndef HV_STACK_MOVE_H
#define HV_STACK_MOVE_H

#include <stdbool.h>

struct err;
struct json_t;

/* layers, of blk_stack_parse(): puts `move`, a layer of that driver, above the lowest one, or with member >= 0 above
 * the lowest one of that member of the volume. Taken over. -EINVAL, -EALREADY with a text; then nothing is changed. */
int stack_move_insert(struct json_t *layers, int member, struct json_t *move, struct err *err);
/* Takes the layer out again. there: what it moved to takes the place of what was below it. False: there is none. */
bool stack_move_remove(struct json_t *layers, bool there);
/* The layer itself; NULL: there is none. *member: whose, -1: of no member. */
const struct json_t *stack_move_find(const struct json_t *layers, int *member);

#endif
