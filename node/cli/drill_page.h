/* A drill as a page for people: one HTML file with its style and its pictures in it, which needs nothing else and runs
 * no script. The picture is a timeline: a lane for the fault, one for the node, one for each guest that was followed.
 *
 * Every text comes from a cluster and is escaped. Thread: any. */
#ifndef NODE_CLI_DRILL_PAGE_H
#define NODE_CLI_DRILL_PAGE_H

#include <stdio.h>

struct json_t;

/* drill: as the API shows it, under way or over. */
void drill_page_write(FILE *file, const struct json_t *drill);
/* The same as text. */
void drill_page_text(FILE *file, const struct json_t *drill);

#endif
