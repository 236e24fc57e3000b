/* See command.h. A command line becomes a body by the options' paths, the body a request, the answer a table. */
#include "node/cli/command.h"

#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "node/base/clock.h"
#include "node/base/err.h"
#include "node/cli/client.h"
#include "node/cli/progress.h"
#include "node/cli/table.h"

enum { EXIT_REFUSED = 1, EXIT_COMMAND_LINE = 2, EXIT_NO_ANSWER = 3, EXIT_NOT_THERE = 4, EXIT_TOO_LONG = 5 };
enum {
    OPTIONS_MAX = 40,
    PATH_BYTES = 1024,
    FILE_BYTES_MAX = 1 << 20,
    TIMEOUT_S = 600,
    KEY_API = 0x1000,
    KEY_CA,
    KEY_TOKEN_FILE,
    KEY_REASON,
    KEY_JSON,
    KEY_WAIT,
    KEY_DRY_RUN,
    KEY_NO_HEADER,
    KEY_TIMEOUT,
    KEY_OWN, /* and those after it: the command's own options */
};

static const char default_api[] = "unix:/run/drover/api.sock";

struct line {
    const struct command *command;
    struct command_common common;
    const char *names[COMMAND_NAMES_MAX];
    unsigned name_count, names_wanted;
    json_t *body;
    char query[PATH_BYTES];
};

/* In the order of their keys, from KEY_API on. */
const struct command_option command_common_options[] = {
    {"api", "WHERE", COMMAND_TEXT, NULL, NULL,
     "unix:PATH or https://HOST:PORT (unix:/run/drover/api.sock; DROVER_API)"},
    {"ca", "FILE", COMMAND_TEXT, NULL, NULL, "the cluster's authority, for https (DROVER_CA)"},
    {"token-file", "FILE", COMMAND_TEXT, NULL, NULL, "who you are, for https (DROVER_TOKEN_FILE)"},
    {"reason", "TEXT", COMMAND_TEXT, NULL, NULL, "why, for the audit log"},
    {"json", NULL, COMMAND_FLAG, NULL, NULL, "print the answer as JSON"},
    {"wait", NULL, COMMAND_FLAG, NULL, NULL, "until it is done, with a progress bar on a terminal"},
    {"dry-run", NULL, COMMAND_FLAG, NULL, NULL, "check and show what would be, change nothing"},
    {"no-header", NULL, COMMAND_FLAG, NULL, NULL, "leave out the titles of a table"},
    {"timeout", "SECONDS", COMMAND_INT, NULL, NULL, "of --wait (600)"},
    {NULL, NULL, COMMAND_FLAG, NULL, NULL, NULL},
};

/* ---- the body ---- */

/* The object that holds the last name of a path, made on the way. */
static json_t *holder(json_t *body, const char **path)
{
    const char *dot;
    while ((dot = strchr(*path, '.'))) {
        char part[64];
        snprintf(part, sizeof part, "%.*s", (int)(dot - *path), *path);
        json_t *next = json_object_get(body, part);
        if (!next) {
            next = json_object();
            json_object_set_new(body, part, next);
        }
        body = next;
        *path = dot + 1;
    }
    return body;
}

static json_t *read_file(const char *name, struct argp_state *state)
{
    FILE *f = strcmp(name, "-") ? fopen(name, "r") : stdin;
    if (!f)
        argp_error(state, "%s cannot be read: %s", name, strerror(errno));
    char *text = malloc(FILE_BYTES_MAX + 1);
    size_t n = text ? fread(text, 1, FILE_BYTES_MAX + 1, f) : 0;
    if (f != stdin)
        fclose(f);
    if (!text || n > FILE_BYTES_MAX)
        argp_error(state, "%s is larger than 1 MiB", name);
    while (n && text[n - 1] == '\n')
        n--;
    json_t *value = json_stringn(text, n);
    free(text);
    if (!value)
        argp_error(state, "%s is no UTF-8 text", name);
    return value;
}

static json_t *parse_int(const char *text, const struct command_option *o, struct argp_state *state)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno || end == text || *end)
        argp_error(state, "--%s: '%s' is no whole number", o->name, text);
    return json_integer(n);
}

/* "vol1,read_only" or "net1,address=10.7.0.5,rate_mbit=100". */
static json_t *parse_object(const char *text, const struct command_option *o)
{
    json_t *object = json_object();
    char *copy = strdup(text), *rest = copy, *part = strsep(&rest, ",");
    json_object_set_new(object, o->main, json_string(part));
    while ((part = strsep(&rest, ","))) {
        char *value = strchr(part, '=');
        if (value)
            *value++ = 0;
        char *end = value;
        long long n = value && *value ? strtoll(value, &end, 10) : 0;
        for (char *at = part; *at; at++)
            *at = *at == '-' ? '_' : *at;
        if (!value)
            json_object_set_new(object, part, json_true());
        else if (end != value && !*end)
            json_object_set_new(object, part, json_integer(n));
        else
            json_object_set_new(object, part, json_string(value));
    }
    free(copy);
    return object;
}

/* KEY=VALUE becomes a member of to[key]. */
static void add_pair(json_t *to, const char *key, const char *text, const struct command_option *o,
                     struct argp_state *state)
{
    const char *value = strchr(text, '=');
    json_t *object = json_object_get(to, key);
    if (!value || value == text) {
        argp_error(state, "--%s: '%s': write KEY=VALUE", o->name, text);
        return;
    }
    if (!object) {
        object = json_object();
        json_object_set_new(to, key, object);
    }
    char *name = strndup(text, (size_t)(value - text));
    json_object_set_new(object, name, json_string(value + 1));
    free(name);
}

static void append(json_t *to, const char *key, json_t *value)
{
    json_t *list = json_object_get(to, key);
    if (!list) {
        list = json_array();
        json_object_set_new(to, key, list);
    }
    json_array_append_new(list, value);
}

/* "none" is the empty list, which takes away what was there. */
static void add_words(json_t *to, const char *key, const char *text)
{
    if (!json_object_get(to, key))
        json_object_set_new(to, key, json_array());
    for (size_t n; *text && strcmp(text, "none"); text += n + (text[n] == ',')) {
        n = strcspn(text, ",");
        append(to, key, json_stringn(text, n));
    }
}

static void take_option(struct line *line, const struct command_option *o, char *arg, struct argp_state *state)
{
    if (o->path[0] == '?') {
        client_add_query(line->query, sizeof line->query, o->path + 1, arg ? arg : "true");
        return;
    }
    const char *key = o->path;
    json_t *to = holder(line->body, &key);
    switch (o->value) {
    case COMMAND_TEXT:
        json_object_set_new(to, key, json_string(arg));
        break;
    case COMMAND_INT:
        json_object_set_new(to, key, parse_int(arg, o, state));
        break;
    case COMMAND_FLAG:
    case COMMAND_NOT:
        json_object_set_new(to, key, json_boolean(o->value == COMMAND_FLAG));
        break;
    case COMMAND_FILE:
        json_object_set_new(to, key, read_file(arg, state));
        break;
    case COMMAND_TEXTS:
        append(to, key, json_string(arg));
        break;
    case COMMAND_WORDS:
        add_words(to, key, arg);
        break;
    case COMMAND_FILES:
        append(to, key, read_file(arg, state));
        break;
    case COMMAND_PAIR:
        add_pair(to, key, arg, o, state);
        break;
    case COMMAND_OBJECTS:
        append(to, key, parse_object(arg, o));
        break;
    }
}

/* ---- the command line ---- */

static bool take_common(struct command_common *c, int key, char *arg, struct argp_state *state)
{
    char *end;
    switch (key) {
    case KEY_API:
        c->api = arg;
        return true;
    case KEY_CA:
        c->ca = arg;
        return true;
    case KEY_TOKEN_FILE:
        c->token_file = arg;
        return true;
    case KEY_REASON:
        c->reason = arg;
        return true;
    case KEY_JSON:
        c->json = true;
        return true;
    case KEY_WAIT:
        c->wait = true;
        return true;
    case KEY_DRY_RUN:
        c->dry_run = true;
        return true;
    case KEY_NO_HEADER:
        c->no_header = true;
        return true;
    case KEY_TIMEOUT:
        c->timeout_s = (unsigned)strtoul(arg, &end, 10);
        if (*end || !c->timeout_s)
            argp_error(state, "--timeout: '%s' is no number of seconds", arg);
        return true;
    default:
        return false;
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct line *line = state->input;
    if (take_common(&line->common, key, arg, state))
        return 0;
    if (key >= KEY_OWN && key < KEY_OWN + OPTIONS_MAX) {
        take_option(line, &line->command->options[key - KEY_OWN], arg, state);
        return 0;
    }
    switch (key) {
    case ARGP_KEY_ARG:
        if (line->name_count == line->names_wanted)
            argp_error(state, "'%s' is one too many", arg);
        line->names[line->name_count++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (line->name_count < line->names_wanted)
            argp_error(state, "%s is missing",
                       strrchr(line->command->names, ' ') && line->name_count ? strrchr(line->command->names, ' ') + 1
                                                                              : line->command->names);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static unsigned count_names(const char *names)
{
    unsigned n = names && *names ? 1 : 0;
    for (; names && *names; names++)
        n += *names == ' ';
    return n;
}

static void parse_line(struct line *line, int argc, char **argv)
{
    struct argp_option options[OPTIONS_MAX + 1];
    memset(options, 0, sizeof options);
    unsigned n = 0;
    for (const struct command_option *o = line->command->options; o && o->name; o++, n++)
        options[n] = (struct argp_option){o->name, KEY_OWN + (int)n, o->argument, 0, o->help, 0};
    for (const struct command_option *o = command_common_options; o->name && n < OPTIONS_MAX; o++, n++)
        options[n] =
            (struct argp_option){o->name, KEY_API + (int)(o - command_common_options), o->argument, 0, o->help, 1};
    struct argp argp = {options, parse, line->command->names, line->command->help, NULL, NULL, NULL};
    char name[64];
    snprintf(name, sizeof name, "drover %s%s%s", line->command->noun, *line->command->verb ? " " : "",
             line->command->verb);
    argv[0] = name;
    argp_err_exit_status = EXIT_COMMAND_LINE;
    argp_parse(&argp, argc, argv, 0, NULL, line);
}

/* ---- answers ---- */

int command_problem(long status, const json_t *problem)
{
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    const char *field = json_string_value(json_object_get(problem, "field"));
    fprintf(stderr, "drover: %s%s%s\n", field ? field : "", field ? ": " : "", detail ? detail : "refused");
    return status == 404 ? EXIT_NOT_THERE : status == 503 ? EXIT_NO_ANSWER : EXIT_REFUSED;
}

json_t *command_get(struct client *client, const char *path, int *rc)
{
    struct client_answer answer = {0};
    struct err err = {0};
    json_t *body = NULL;
    if (client_request(client, "GET", path, NULL, NULL, NULL, &answer, &err)) {
        fprintf(stderr, "drover: %s\n", err.text);
        *rc = EXIT_NO_ANSWER;
    } else if (answer.status >= 400) {
        *rc = command_problem(answer.status, answer.body);
    } else {
        body = json_incref(answer.body);
    }
    client_answer_free(&answer);
    return body;
}

static char *read_token(const char *path, struct err *err)
{
    FILE *f = fopen(path, "r");
    char text[256] = "";
    if (!f || !fgets(text, sizeof text, f)) {
        err_set(err, errno, "the token file %s cannot be read: %s", path, strerror(errno));
        if (f)
            fclose(f);
        return NULL;
    }
    fclose(f);
    text[strcspn(text, "\r\n")] = 0;
    char *token = strdup(text);
    explicit_bzero(text, sizeof text);
    return token;
}

struct client *command_client(const struct command_common *common)
{
    struct err err = {0};
    const char *api = common->api ? common->api : getenv("DROVER_API");
    const char *ca = common->ca ? common->ca : getenv("DROVER_CA");
    const char *file = common->token_file ? common->token_file : getenv("DROVER_TOKEN_FILE");
    char *token = file ? read_token(file, &err) : NULL;
    struct client *client = file && !token ? NULL : client_new(api ? api : default_api, ca, token, &err);
    if (token)
        explicit_bzero(token, strlen(token));
    free(token);
    if (!client)
        fprintf(stderr, "drover: %s\n", err.text);
    return client;
}

void command_print_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
}

static void show(const struct line *line, const json_t *body)
{
    const json_t *items = json_object_get(body, "items");
    if (!body)
        return;
    if (line->common.json || !line->command->columns)
        command_print_json(items ? items : body);
    else if (items)
        table_print(items, line->command->columns, !line->common.no_header);
    else
        table_print_one(body, line->command->columns);
}

/* ---- requests ---- */

static int ask(struct client *client, const struct line *line, const char *method, const char *path,
               const char *if_match, struct client_answer *answer)
{
    struct err err = {0};
    const json_t *body = json_object_size(line->body) && strcmp(method, "GET") ? line->body : NULL;
    if (client_request(client, method, path, body, if_match, line->common.reason, answer, &err)) {
        fprintf(stderr, "drover: %s\n", err.text);
        return EXIT_NO_ANSWER;
    }
    return answer->status >= 400 ? command_problem(answer->status, answer->body) : 0;
}

/* Every page; the items of all are in the answer. */
static int ask_pages(struct client *client, const struct line *line, const char *path, struct client_answer *answer)
{
    char page[PATH_BYTES];
    snprintf(page, sizeof page, "%s", path);
    int rc = ask(client, line, "GET", page, NULL, answer);
    json_t *items = json_object_get(answer->body, "items");
    const char *next = json_string_value(json_object_get(answer->body, "next"));
    while (!rc && items && next) {
        struct client_answer more;
        snprintf(page, sizeof page, "%s", path);
        client_add_query(page, sizeof page, "after", next);
        rc = ask(client, line, "GET", page, NULL, &more);
        if (!rc) {
            json_array_extend(items, json_object_get(more.body, "items"));
            json_object_set(answer->body, "next", json_object_get(more.body, "next"));
            next = json_string_value(json_object_get(answer->body, "next"));
        }
        client_answer_free(&more);
    }
    return rc;
}

/* A change is made to what is there now: who wants another one to come in between uses the API. */
static int ask_change(struct client *client, const struct line *line, const char *path, struct client_answer *answer)
{
    struct client_answer now;
    int rc = ask(client, line, "GET", path, NULL, &now);
    if (!rc)
        rc = ask(client, line, "PATCH", path, now.etag, answer);
    client_answer_free(&now);
    return rc;
}

/* Fills the %s of the path, or the body's member, with the names. */
static void place_names(struct line *line, char *path)
{
    char first[256] = "", second[256] = "";
    if (line->name_count > 0)
        client_escape(line->names[0], first, sizeof first);
    if (line->name_count > 1)
        client_escape(line->names[1], second, sizeof second);
    const char *from = line->command->path;
    size_t used = 0;
    for (unsigned n = 0; *from && used < PATH_BYTES - 260; from++) {
        if (from[0] == '%' && from[1] == 's') {
            used += (size_t)snprintf(path + used, PATH_BYTES - used, "%s", n++ ? second : first);
            from++;
        } else {
            path[used++] = *from;
        }
    }
    path[used] = 0;
    if (line->command->body_name && line->name_count)
        json_object_set_new(line->body, line->command->body_name, json_string(line->names[0]));
}

/* Waits for the task in the answer; the answer is then the object as it has become, or nothing if it is gone. */
static int wait_for(struct client *client, const struct line *line, const char *task, struct client_answer *answer)
{
    char path[PATH_BYTES], name[256];
    int rc = progress_wait(client, task, line->common.timeout_s);
    client_escape(json_string_value(json_object_get(answer->body, "name")), name, sizeof name);
    snprintf(path, sizeof path, "/v1/%ss/%s", json_string_value(json_object_get(answer->body, "kind")), name);
    client_answer_free(answer);
    *answer = (struct client_answer){0};
    bool gone = !strcmp(line->command->method, "DELETE");
    return rc || gone ? rc : ask(client, line, "GET", path, NULL, answer);
}

static int request(struct client *client, struct line *line)
{
    char path[PATH_BYTES] = "";
    struct client_answer answer = {0};
    const struct command *c = line->command;
    int rc;
    place_names(line, path);
    if (c->has_spec && !json_object_get(line->body, "spec"))
        json_object_set_new(line->body, "spec", json_object());
    if (*line->query)
        snprintf(path + strlen(path), sizeof path - strlen(path), "%s", line->query);
    if (line->common.dry_run)
        client_add_query(path, sizeof path, "dry_run", "true");
    if (!strcmp(c->method, "GET"))
        rc = ask_pages(client, line, path, &answer);
    else if (!strcmp(c->method, "PATCH"))
        rc = ask_change(client, line, path, &answer);
    else
        rc = ask(client, line, c->method, path, NULL, &answer);
    const char *task = json_string_value(json_object_get(answer.body, "task"));
    if (!rc && line->common.wait && task)
        rc = wait_for(client, line, task, &answer);
    if (!rc)
        show(line, answer.body);
    client_answer_free(&answer);
    return rc;
}

const char *command_line(const struct command *command, int argc, char **argv, struct command_common *common,
                         json_t **body)
{
    struct line line = {.command = command,
                        .names_wanted = count_names(command->names),
                        .body = json_object(),
                        .common.timeout_s = TIMEOUT_S};
    parse_line(&line, argc, argv);
    *body = line.body;
    *common = line.common;
    return line.name_count ? line.names[0] : "";
}

const char *command_one_name(const struct command *command, int argc, char **argv, struct command_common *common)
{
    json_t *body;
    const char *name = command_line(command, argc, argv, common, &body);
    json_decref(body);
    return name;
}

int command_run(const struct command *command, int argc, char **argv)
{
    if (command->run)
        return command->run(command, argc, argv);
    struct line line = {.command = command,
                        .names_wanted = count_names(command->names),
                        .body = json_object(),
                        .common.timeout_s = TIMEOUT_S};
    parse_line(&line, argc, argv);
    if (command->fixed_path) {
        const char *key = command->fixed_path;
        json_t *to = holder(line.body, &key);
        json_object_set_new(to, key, json_loads(command->fixed_json, JSON_DECODE_ANY, NULL));
    }
    struct client *client = command_client(&line.common);
    int rc = client ? request(client, &line) : EXIT_NO_ANSWER;
    client_free(client);
    json_decref(line.body);
    return rc;
}
