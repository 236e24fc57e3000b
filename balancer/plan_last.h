/* Where the last plan wanted guests to be, so that the next search begins there (search.h) and not from nothing: what
 * was good a moment ago nearly is now. Whatever is not there any more is passed over. Pure. Threads: any. */
#ifndef BALANCER_PLAN_LAST_H
#define BALANCER_PLAN_LAST_H

#include <jansson.h>

struct err;
struct model;

struct plan_last {
    int *at, *mirror; /* [guests] of the model; at -1: the plan does not move it */
    int count;        /* guests that it moves */
};

/* waves: as plan_waves_json() writes them; NULL: none. -ENOMEM. */
int plan_last_take(struct plan_last *last, const json_t *waves, const struct model *model);
/* The text of a file that plan_json() has made; its name is for the sentence. -EINVAL: it is none. */
int plan_last_read(struct plan_last *last, const char *name, const char *text, size_t len, const struct model *model,
                   struct err *err);
void plan_last_fini(struct plan_last *last);

#endif
