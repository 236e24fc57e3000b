/* `drover completion bash`: what a shell needs to complete nouns, verbs, options and names. Thread: one. */
#ifndef NODE_CLI_COMPLETION_H
#define NODE_CLI_COMPLETION_H

/* To standard output; the exit code. */
int completion_print(const char *shell);

#endif
