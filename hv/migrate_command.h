/* `drover-guest ctl ... migrate` and `forecast`: from the command line to a request, with the key and connected
 * sockets. Threads: main. */
#ifndef HV_MIGRATE_COMMAND_H
#define HV_MIGRATE_COMMAND_H

struct json_t;
struct message;

/* arguments: ended by NULL. 0; 1: it cannot be done; 2: a bad command line. It has said why then. */
int migrate_command_prepare(char **arguments, struct message *message, struct json_t *body);
/* The same for `migrate-resume`, which needs no key. */
int migrate_command_resume(char **arguments, struct message *message);
/* The same for `forecast`, which connects to nobody. */
int migrate_command_forecast(char **arguments, struct json_t *body);

#endif
