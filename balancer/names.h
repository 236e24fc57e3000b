/* Names that became numbers: every distinct string once, numbered in the order it was first seen.
 *
 * Limits: names_intern() refuses (-1) beyond the limit the table was made with. Threads: one at a time. */
#ifndef BALANCER_NAMES_H
#define BALANCER_NAMES_H

#include <stddef.h>

struct json_t;

struct names {
    char **text; /* [count], owned */
    int *slots;  /* open addressing, number + 1, 0 = empty */
    int count, slot_count, limit;
};

void names_init(struct names *names, int limit);
void names_fini(struct names *names);

/* The number of these bytes; a new one if they are new. -1: no memory, a 0 within them, or the limit is reached. */
int names_intern(struct names *names, const char *text, size_t len);
/* -1: never seen. */
int names_find(const struct names *names, const char *text, size_t len);
/* Of a member of an object; -1: it is not there, no text, or never seen. */
int names_find_member(const struct names *names, const struct json_t *object, const char *key);

#endif
