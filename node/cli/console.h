/* `drover guest console` and `drover event follow`: what goes on until somebody ends it. Thread: one. */
#ifndef NODE_CLI_CONSOLE_H
#define NODE_CLI_CONSOLE_H

struct command;

int console_run(const struct command *command, int argc, char **argv);
int console_follow(const struct command *command, int argc, char **argv);

#endif
