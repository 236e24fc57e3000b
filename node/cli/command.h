/* The commands of `drover` as data: a noun, a verb, what they take, and the request they become. Whatever is more than
 * a request has a function of its own.
 *
 * Thread: one. */
#ifndef NODE_CLI_COMMAND_H
#define NODE_CLI_COMMAND_H

#include <stdbool.h>

struct client;
struct json_t;

enum { COMMAND_NAMES_MAX = 2 };

enum command_value {
    COMMAND_TEXT,
    COMMAND_INT,
    COMMAND_FLAG,    /* true */
    COMMAND_NOT,     /* false */
    COMMAND_FILE,    /* the contents of a file as text; '-': standard input */
    COMMAND_TEXTS,   /* may be repeated: a list */
    COMMAND_WORDS,   /* A,B,C, may be repeated: one list; "none": an empty one */
    COMMAND_FILES,   /* may be repeated: a list of contents */
    COMMAND_PAIR,    /* KEY=VALUE, may be repeated: an object with these members */
    COMMAND_OBJECTS, /* may be repeated: MAIN[,key=value]..., a list of objects; `main` names the first */
};

struct command_option {
    const char *name;     /* "memory"; NULL ends a table */
    const char *argument; /* "SIZE"; NULL: a flag */
    enum command_value value;
    const char *path; /* into the body: "spec.memory"; "?force": a query parameter */
    const char *main; /* COMMAND_OBJECTS */
    const char *help;
};

struct command_column {
    const char *title; /* NULL ends a table */
    const char *path;  /* into an object: "spec.memory" */
    enum { COLUMN_TEXT, COLUMN_SIZE, COLUMN_LIST, COLUMN_COUNT, COLUMN_TRUTH } form;
    const char *key; /* COLUMN_LIST: which member of the entries; NULL: the entries themselves */
};

struct command {
    const char *noun, *verb;
    const char
        *names; /* arguments, as the help shows them: "NAME", ""; each becomes a %s of `path` or a member of the body */
    const char *help;
    const char *method, *path; /* "/v1/guests/%s/start" */
    const char *body_name;     /* where the first name goes if the path has no %s: "name" */
    const struct command_option *options;
    const struct command_column *columns;                             /* how answers are shown; NULL: as JSON */
    int (*run)(const struct command *command, int argc, char **argv); /* instead of a request */
    bool has_spec;                                                    /* the body has a spec, even an empty one */
    const char *fixed_path, *fixed_json; /* a member that is always in the body; NULL: none */
};

extern const struct command commands[];                      /* noun NULL ends it */
extern const struct command_option command_common_options[]; /* name NULL ends it; only name, argument and help */

/* What every command takes. */
struct command_common {
    const char *api, *ca, *token_file, *reason;
    bool json, wait, dry_run, no_header;
    unsigned timeout_s;
};

/* argv[0] is the command's own name. Exit codes: 0 done, 1 refused or failed, 2 a bad command line, 3 no answer, 4 not
 * there (any more), 5 --wait took too long. */
int command_run(const struct command *command, int argc, char **argv);

/* For commands with a function of their own: parses the line, fills *common; returns the one name it takes, or "". */
const char *command_one_name(const struct command *command, int argc, char **argv, struct command_common *common);
/* The same; *body: what the command's own options make of it, a new reference. */
const char *command_line(const struct command *command, int argc, char **argv, struct command_common *common,
                         struct json_t **body);
/* From the common options and the environment (DROVER_API, DROVER_CA, DROVER_TOKEN_FILE); prints what is wrong, NULL
 * then. */
struct client *command_client(const struct command_common *common);
/* What is there: a new reference. NULL: *rc is the exit code, and why was printed. */
struct json_t *command_get(struct client *client, const char *path, int *rc);
/* As --json wants it. */
void command_print_json(const struct json_t *value);
/* Prints a problem that the API answered with; returns the exit code. */
int command_problem(long status, const struct json_t *problem);

#endif
