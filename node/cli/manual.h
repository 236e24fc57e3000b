/* `drover manual`: drover(1), from the table of commands. Thread: one. */
#ifndef NODE_CLI_MANUAL_H
#define NODE_CLI_MANUAL_H

/* To standard output, as man(7) macros. */
void manual_print(const char *version);

#endif
