/* The block layer, for those who write a driver.
 *
 * A driver is a table of functions. The wrapper (blk.c) has made every check before submit() is called, so a driver is
 * arithmetic and I/O. Thread: the loop's thread of the stack, for every function.
 *
 * What a driver may rely on in submit(blk, req)
 *   - the op is one it said it can do, on a stack that is writable if the op changes anything;
 *   - range inside the size, multiples of align_bytes, length > 0 (but for FLUSH and RESIZE), vector adds up;
 *   - buffers' addresses are arbitrary: a driver that needs them aligned bounces.
 * What it must do
 *   - call blk_complete(req, result) exactly once, now or later. done() is never run inside submit(): the wrapper sees
 *     to it;
 *   - allocate nothing per request once warm: req->io, req->work, req->link and req->scratch are the driver's for as
 *     long as the request is at its layer, and blk_child() recycles;
 *   - after a failed flush, fail every later FLUSH and FUA.
 *
 * A filter (below != NULL) answers with blk_forward(), or makes children with blk_child(). */
#ifndef NBD_BLK_DRIVER_H
#define NBD_BLK_DRIVER_H

#include "nbd/blk.h"

struct json_t;

STAILQ_HEAD(blk_req_list, blk_req); /* through req->link */

enum blk_option_type {
    BLK_OPTION_STRING,   /* const char *          */
    BLK_OPTION_SIZE,     /* uint64_t, bytes       JSON: number, or text with a suffix */
    BLK_OPTION_DURATION, /* uint64_t, ns          JSON: seconds, or text with a suffix */
    BLK_OPTION_UINT,     /* uint64_t              */
    BLK_OPTION_BOOL,     /* bool                  */
    BLK_OPTION_CHOICE,   /* int: index in choices */
    BLK_OPTION_JSON,     /* const struct json_t * */
};

struct blk_option {
    const char *name; /* NULL ends the table */
    enum blk_option_type type;
    size_t field; /* offset in the driver's config struct */
    bool required;
    uint64_t min, max;          /* numbers; max 0 = no limit */
    uint64_t preset;            /* numbers, truths: the value when the option is not there */
    const char *const *choices; /* NULL-terminated */
    const char *help;
};

struct blk_driver {
    const char *name;
    bool filter;              /* needs a layer below */
    const char *short_option; /* the option that the short form `name:value` sets; NULL: JSON only */
    const struct blk_option *options;
    size_t config_bytes; /* zeroed, then filled from the options; its texts live until open() returns */
    size_t state_bytes;  /* zeroed; see blk_state() */

    /* Sets size, limits, can (and may set read_only) with the blk_set_*() below; a filter finds those of the layer
     * below set already. Errors: -errno and a text that names the part at fault; nothing is left open then. */
    int (*open)(struct blk *blk, const void *config, struct err *err);
    void (*close)(struct blk *blk);
    void (*submit)(struct blk *blk, struct blk_req *req);
    /* blk_place(); may be NULL. submit() sees the vector point there and leaves the bytes alone. */
    void *(*place)(struct blk *blk, const struct blk_req *req);
    /* blk_abandon(); may be NULL. */
    void (*abandon)(struct blk *blk);
    /* blk_make_patient(); may be NULL. */
    void (*make_patient)(struct blk *blk);
};

/* Makes a driver known to blk_open(). Registering a name twice is a bug. Before any thread is started. */
void blk_driver_register(const struct blk_driver *driver);
/* The drivers of this folder: raw, mem, fault, throttle, align, fence, luks, nbd, move. */
void blk_drivers_register(void);
/* The i-th registered driver, or NULL: for help texts. */
const struct blk_driver *blk_driver_at(unsigned i);

/* The layers of a stack as blk_open() would read them: a new array of objects, top first, which nobody has judged. */
int blk_stack_parse(const char *stack, struct json_t **layers, struct err *err);

void *blk_state(const struct blk *blk);
const struct blk_env *blk_environment(const struct blk *blk);
bool blk_is_patient(const struct blk *blk); /* opened with BLK_OPEN_PATIENT */
/* Requests of this layer that are not delivered yet, the one being submitted among them. */
unsigned blk_in_flight(const struct blk *blk);
void blk_set_size(struct blk *blk, uint64_t size_bytes);
void blk_set_limits(struct blk *blk, const struct blk_limits *limits);
void blk_set_can(struct blk *blk, uint32_t can);
void blk_set_needs(struct blk *blk, uint32_t needs);
void blk_set_read_only(struct blk *blk);

/* May be called inside submit(). result: 0 or -errno. */
void blk_complete(struct blk_req *req, int result);

/* A request for a layer below, recycled from this layer's own; parent is remembered, done and the rest are the
 * caller's to fill. Put it back in its done(). Aborts when memory is out (a request cannot be refused here). */
struct blk_req *blk_child(struct blk *blk, struct blk_req *parent);
void blk_child_put(struct blk *blk, struct blk_req *child);

/* Passes req to the layer below as it is and completes it with the same result. */
void blk_forward(struct blk *blk, struct blk_req *req);
/* The same at another offset: for a layer that begins further down. */
void blk_forward_at(struct blk *blk, struct blk_req *req, uint64_t offset);

#endif
