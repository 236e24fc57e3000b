/* `drover top`: what nodes and guests use, over and over. Thread: one. */
#ifndef NODE_CLI_TOP_H
#define NODE_CLI_TOP_H

struct command;

int top_run(const struct command *command, int argc, char **argv);

#endif
