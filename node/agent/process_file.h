/* What programs are handed and what they leave behind: a configuration that is in memory only, and the last thing they
 * printed. Threads: any. */
#ifndef NODE_AGENT_PROCESS_FILE_H
#define NODE_AGENT_PROCESS_FILE_H

#include <stddef.h>

struct err;
struct json_t;

/* A file in memory with that JSON in it, for process_start.fds; the caller's to close. -errno with a text. */
int process_file_json(const struct json_t *json, struct err *err);
/* A file in memory for what a program prints. -errno with a text. */
int process_file_output(struct err *err);
/* The last line of a file that a program prints to, ended or not; "" if there is none, its end if it is longer than the
 * room. fd -1: "". Returns text. */
const char *process_file_last_line(int fd, char *text, size_t room);
/* The same for people: what it says, if it is a line of the log as JSON (node/base/log.h). */
const char *process_file_last_words(int fd, char *text, size_t room);

#endif
