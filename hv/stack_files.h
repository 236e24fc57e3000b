/* The files of a disk's stack, on their way to a guest that runs and could not open any: who asks opens them, and hands
 * them over with the request. In the JSON of the stack, "fd" of a raw layer, or of a luks layer's key, is then the
 * file's place in the message.
 *
 *     ctl:    raw:disk.img -> [{"driver":"raw", "file":"disk.img", "fd":0}] and one descriptor
 *     guest:  "fd" becomes the number that the descriptor has here
 *
 * Threads: the main one of either process. */
#ifndef HV_STACK_FILES_H
#define HV_STACK_FILES_H

#include <stdbool.h>

struct err;
struct json_t;

/* The object in which a layer names its file, by "file" or "fd": a raw layer itself, a luks layer's key. NULL: it has
 * none. */
struct json_t *stack_files_namer(struct json_t *layer);

/* layers: of blk_stack_parse(), changed in place. Opens the files of raw layers and keys that have no fd yet, at most
 * max. Errors: what opening them may meet, -E2BIG; none is left open then. */
int stack_files_open(struct json_t *layers, bool read_only, int *fds, unsigned max, unsigned *count, struct err *err);

/* layers: foreign. -EINVAL with a text: a layer names a file that did not come along, or some came for no layer. */
int stack_files_take(struct json_t *layers, const int *fds, unsigned count, struct err *err);

#endif
