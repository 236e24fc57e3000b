/* `drover drill simulate`: fetches the cluster, or takes a file, and becomes drover-drill. Thread: one. */
#ifndef NODE_CLI_DRILL_SIMULATE_H
#define NODE_CLI_DRILL_SIMULATE_H

#include "node/cli/command.h"

extern const struct command_option drill_simulate_options[];
int drill_simulate_run(const struct command *command, int argc, char **argv);

#endif
