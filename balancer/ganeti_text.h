/* Ganeti's text format: what `hscan` and `gnt-cluster` write and hbal, hspace and hcheck read with -t.
 *
 * Five sections parted by empty lines: groups, nodes, instances, cluster tags, policies (the last may be missing).
 * Source: man pages hbal(1), hscan(1) of ganeti-htools 3.0. What a section's line has beyond the known fields is kept
 * when the file is written again.
 *
 * Bytes are foreign: every error is -EINVAL with "FILE:LINE: field ...". Limits: model.h; a file of 256 MiB.
 * Threads: one at a time. */
#ifndef BALANCER_GANETI_TEXT_H
#define BALANCER_GANETI_TEXT_H

#include <stddef.h>

struct err;
struct model;

struct ganeti_text {
    struct model *model; /* owned */
    char *text;          /* owned copy of the file */
    size_t len;
    size_t *node_at, *guest_at; /* where the line of each begins */
    char warnings[1024];        /* sentences, one a line: data that contradicts itself */
};

/* group: the name of the node group to balance, NULL if there is only one. */
int ganeti_text_read(struct ganeti_text *file, const char *name, const char *text, size_t len, const char *group,
                     struct err *err);
void ganeti_text_fini(struct ganeti_text *file);

/* "instance cpu memory disk network" a line, as hbal -U reads it: the measured use of guests. */
int ganeti_text_read_use(struct model *model, const char *name, const char *text, size_t len, struct err *err);

/* The file again with the guests where `model` has them. A string to free(), NULL: no memory. */
char *ganeti_text_write(const struct ganeti_text *file, const struct model *model, size_t *len);

#endif
