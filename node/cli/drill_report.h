/* `drover drill report` and `drover drill canary`. Thread: one. */
#ifndef NODE_CLI_DRILL_REPORT_H
#define NODE_CLI_DRILL_REPORT_H

struct command;

int drill_report_run(const struct command *command, int argc, char **argv);
int drill_canary_run(const struct command *command, int argc, char **argv);

#endif
