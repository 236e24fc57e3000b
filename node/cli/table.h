/* Objects as a table for people. Thread: one. */
#ifndef NODE_CLI_TABLE_H
#define NODE_CLI_TABLE_H

#include <stdbool.h>

#include "node/cli/command.h"

/* A member by a path of names ("spec.memory"); NULL: not there. */
const struct json_t *table_member(const struct json_t *object, const char *path);
/* items: an array of objects. */
void table_print(const struct json_t *items, const struct command_column *columns, bool header);
/* One object, a line for each column. */
void table_print_one(const struct json_t *object, const struct command_column *columns);

#endif
