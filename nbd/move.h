/* The driver "move": what lies below is copied to another place while it is used, until both are the same and the old
 * one can be left. It stays below the layer that uses it, and is gone with the next opening of the stack.
 *
 *     [{"driver":"move", "to":[{"driver":"nbd", "uri":"nbds://n2/ID"}]}, {"driver":"raw", "file":"old.volume"}]
 *
 *     COPYING --everything is there--> SYNCED --move_settle()--> SETTLED --move_end(there)--> THERE
 *        '----------'--- the new place fails, or move_end(here) ---+--move_end(here)--> HERE
 *
 * Copying goes from the beginning to the end, a run at a time. A change behind the run goes to both places, one before
 * it to the old one only, one that meets it waits for it; so what is left to be copied only shrinks. Both places get
 * the same bytes, from a copy, whatever the caller does to its buffer meanwhile; changes whose ranges meet are made one
 * after the other.
 *
 *   - Until SETTLED the old place alone counts: a change is acknowledged when it has it, and a new place that fails, or
 *     does not answer for PATIENCE, is given up (HERE, with the reason).
 *   - SETTLED: somebody is deciding, elsewhere, which of the two counts from now on. A change is acknowledged when both
 *     have it; when one fails, it waits, and is tried again, until the decision is told. Reads are the new place's, and
 *     the old one's if that fails, or does not answer for PATIENCE.
 *   - THERE the new place is all there is: a stack that was opened to be patient waits for it without end.
 *   - A flush that fails is not tried again: it waits, and fails if the decision is for the place that failed it, as do
 *     all that come later. One that did not reach the place (-ENOTCONN) has not failed, and is tried again.
 *   - blk_abandon(), of a stack that is not patient: what waits, or fails at a place that may count, ends with
 *     -ENOTCONN. Whoever asked has it from elsewhere.
 *   - The new place is flushed while it is copied, too, and has long for that: nobody waits for it.
 *   - A flush reaches both from the moment on that everything is copied, which is before SYNCED: so what a flush has
 *     covered is durable in both when it is settled.
 *
 * Thread: the loop's. */
#ifndef NBD_MOVE_H
#define NBD_MOVE_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct blk_driver;
struct err;

extern const struct blk_driver move_driver;

enum move_phase { MOVE_COPYING, MOVE_SYNCED, MOVE_SETTLED, MOVE_THERE, MOVE_HERE, MOVE_PHASE_COUNT };

struct move_status {
    enum move_phase phase;
    uint64_t done_bytes, total_bytes;
    bool waits;         /* SETTLED, THERE: a place does not do what it is asked */
    const char *reason; /* of HERE: why it was given up, "": it was told to; valid until the loop turns */
};

/* The layer of that chain; NULL: it has none. */
struct blk *move_in(struct blk *stack);
const char *move_phase_name(enum move_phase phase);
void move_status(const struct blk *move, struct move_status *status);
/* -EAGAIN: not everything is there yet; -EIO: it was given up. */
int move_settle(struct blk *move, struct err *err);
/* The other place is left alone from now on. -EINVAL: there, without being settled. */
int move_end(struct blk *move, bool there, struct err *err);

#endif
