/* Commands that are more than a request. Thread: one. */
#ifndef NODE_CLI_SPECIAL_H
#define NODE_CLI_SPECIAL_H

struct command;

/* Run droverd's own --init, --join, --move-store and --verify-audit, with all further options handed on. */
int special_init(const struct command *command, int argc, char **argv);
int special_join(const struct command *command, int argc, char **argv);
int special_store(const struct command *command, int argc, char **argv);
int special_verify_audit(const struct command *command, int argc, char **argv);

/* This process becomes that program, which lies beside this one or where the shell finds it; its name has 15 letters at
 * most. It returns if that cannot be, with the exit code; why was printed. */
int special_become(const char *program, char *const *words);

#endif
