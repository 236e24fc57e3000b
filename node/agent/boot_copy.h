/* A copy of an image that guests boot from, in a folder of this node's state: fetched from a node that serves it,
 * checked against its sum, and served itself to nodes that lack it when no better one is left.
 *
 *     WAITING --copy--> COPYING --all is there--> CHECKING --it has the sum, on stable storage--> READY
 *        ^                  |                        |
 *        +--after a while-- FAILED <-----------------+   also if nothing comes for a minute
 *
 * A copy is called by its sum, and has another name until it is whole and checked: whatever has the right name can be
 * used after any crash. What was begun is begun anew. Thread: the loop's. */
#ifndef NODE_AGENT_BOOT_COPY_H
#define NODE_AGENT_BOOT_COPY_H

#include <stdbool.h>
#include <stdint.h>

struct boot_copy;
struct export_place;
struct json_t;
struct loop;

struct boot_copy_place {
    struct loop *loop;
    struct export_place *exports;
    const char *img, *import; /* drover-img, drover-import: absolute paths */
    const char *directory;
    const char *tls; /* folder of certificates; NULL: in clear */
};

/* sum: as boot_image.h has it. READY if it is there already, else WAITING. changed(): anything of the state, and that
 * it may be tried again; never from inside a call. NULL: out of memory. */
struct boot_copy *boot_copy_new(const struct boot_copy_place *place, const char *sum, void (*changed)(void *context),
                                void *context);
/* What is under way is given up. remove: the file goes, too. NULL is accepted. */
void boot_copy_free(struct boot_copy *copy, bool remove);

/* Begins if it is WAITING: so many bytes, neither more nor less, from that URI. */
void boot_copy_make(struct boot_copy *copy, const char *uri, uint64_t bytes);
/* Why a WAITING one is not begun: a constant sentence, or "". */
void boot_copy_wait(struct boot_copy *copy, const char *why);
/* Of one that is READY. */
void boot_copy_serve(struct boot_copy *copy, bool served);

const char *boot_copy_sum(const struct boot_copy *copy);
const char *boot_copy_path(const struct boot_copy *copy);   /* NULL: it is not READY */
const char *boot_copy_reason(const struct boot_copy *copy); /* why not; "" */
bool boot_copy_is_busy(const struct boot_copy *copy);       /* COPYING, CHECKING */
bool boot_copy_is_serving(const struct boot_copy *copy);
/* As a node's state has it; new reference. */
struct json_t *boot_copy_state(const struct boot_copy *copy);

#endif
