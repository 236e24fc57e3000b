/* Commands of the balancer that are more than a request. Thread: one. */
#ifndef NODE_CLI_BALANCE_H
#define NODE_CLI_BALANCE_H

#include "node/cli/command.h"

/* The plan that is active or proposed; with --explain why each guest moves or stays. */
int balance_plan(const struct command *command, int argc, char **argv);
/* Which nodes could sleep, which must be woken, and the moves that empty the former. */
int balance_consolidate(const struct command *command, int argc, char **argv);
/* "get": the policy as it is; "set FILE": another one. */
int balance_policy(const struct command *command, int argc, char **argv);
/* "off", "advise" or "automatic". */
int balance_mode(const struct command *command, int argc, char **argv);

extern const struct command_option balance_plan_options[];
extern const struct command_option balance_apply_options[];
extern const struct command_option balance_consolidate_options[];
extern const struct command_option balance_mode_options[];

#endif
