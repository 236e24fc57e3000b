/* Waiting for a task to end, with a line that moves on a terminal. Thread: one. */
#ifndef NODE_CLI_PROGRESS_H
#define NODE_CLI_PROGRESS_H

struct client;
struct client_answer;
struct command;

/* Asks for the task again and again until it has ended. Returns the exit code: 0 done, 1 it failed or was cancelled
 * (the reason is printed), 3 no answer, 4 there is no such task, 5 took too long. */
int progress_wait(struct client *client, const char *task, unsigned timeout_s);

/* `drover task wait TASK`. */
int progress_run(const struct command *command, int argc, char **argv);

#endif
