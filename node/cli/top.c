/* See top.h. Processor time is a counter, so a figure is the difference of two looks: the first picture comes after one
 * pause. On a terminal it goes on until Ctrl-C; elsewhere, and with --json, it is one picture. */
#include "node/cli/top.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/base/clock.h"
#include "node/base/err.h"
#include "node/cli/client.h"
#include "node/cli/command.h"
#include "node/cli/table.h"

enum { PAUSE_MS = 2000, SHORT_PAUSE_MS = 500, EXIT_NO_ANSWER = 3 };

static const struct command_column node_columns[] = {{"NODE", "name", COLUMN_TEXT, NULL},
                                                     {"ALIVE", "state.alive", COLUMN_TRUTH, NULL},
                                                     {"CPUS", "state.cpus", COLUMN_TEXT, NULL},
                                                     {"LOAD", "state.load", COLUMN_TEXT, NULL},
                                                     {"MEMORY", "state.memory_bytes", COLUMN_SIZE, NULL},
                                                     {"FREE", "state.free_bytes", COLUMN_SIZE, NULL},
                                                     {.title = NULL}};
static const struct command_column guest_columns[] = {
    {"GUEST", "guest", COLUMN_TEXT, NULL},          {"PHASE", "phase", COLUMN_TEXT, NULL},
    {"CPU%", "cpu_percent", COLUMN_TEXT, NULL},     {"MEMORY", "memory_bytes", COLUMN_SIZE, NULL},
    {"WAITS%", "waits_percent", COLUMN_TEXT, NULL}, {.title = NULL}};

/* The items of a list, or NULL: *rc is the exit code then, and the reason is printed. */
static json_t *ask(struct client *client, const char *path, int *rc)
{
    struct client_answer answer;
    struct err err = {0};
    if (client_request(client, "GET", path, NULL, NULL, NULL, &answer, &err)) {
        fprintf(stderr, "drover: %s\n", err.text);
        *rc = EXIT_NO_ANSWER;
        return NULL;
    }
    *rc = answer.status >= 400 ? command_problem(answer.status, answer.body) : 0;
    json_t *items = *rc ? NULL : json_incref(json_object_get(answer.body, "items"));
    client_answer_free(&answer);
    return items;
}

static json_int_t cpu_us(const json_t *items, const char *guest)
{
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        const char *name = json_string_value(json_object_get(item, "guest"));
        if (name && !strcmp(name, guest))
            return json_integer_value(json_object_get(item, "cpu_us"));
    }
    return -1;
}

static void add_figures(json_t *now, const json_t *before, uint64_t passed_ns)
{
    for (size_t i = 0; i < json_array_size(now); i++) {
        json_t *item = json_array_get(now, i);
        const char *name = json_string_value(json_object_get(item, "guest"));
        json_int_t then = cpu_us(before, name ? name : "");
        json_int_t used = then < 0 ? 0 : json_integer_value(json_object_get(item, "cpu_us")) - then;
        double percent = used > 0 ? (double)used * 1e5 / (double)passed_ns : 0;
        double waits = json_number_value(json_object_get(item, "cpu_pressure"));
        json_object_set_new(item, "cpu_percent", json_integer((json_int_t)(percent + 0.5)));
        json_object_set_new(item, "waits_percent", json_integer((json_int_t)(waits * 100 + 0.5)));
    }
}

static int by_cpu(const void *a, const void *b)
{
    json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "cpu_percent"));
    json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "cpu_percent"));
    return (x < y) - (x > y);
}

/* A new array; the busiest guest first. */
static json_t *sorted(const json_t *items)
{
    size_t n = json_array_size(items);
    json_t **order = calloc(n ? n : 1, sizeof *order), *to = json_array();
    for (size_t i = 0; order && i < n; i++)
        order[i] = json_array_get(items, i);
    if (order)
        qsort(order, n, sizeof *order, by_cpu);
    for (size_t i = 0; order && i < n; i++)
        json_array_append(to, order[i]);
    free(order);
    return to;
}

static void show(const struct command_common *common, const json_t *nodes, const json_t *guests, bool terminal)
{
    json_t *busiest = sorted(guests);
    if (common->json) {
        json_t *all = json_pack("{s:O, s:O}", "nodes", nodes, "guests", busiest);
        command_print_json(all);
        json_decref(all);
    } else {
        printf("%s", terminal ? "\033[H\033[J" : "");
        table_print(nodes, node_columns, !common->no_header);
        printf("\n");
        table_print(busiest, guest_columns, !common->no_header);
    }
    fflush(stdout);
    json_decref(busiest);
}

int top_run(const struct command *command, int argc, char **argv)
{
    struct command_common common;
    command_one_name(command, argc, argv, &common);
    struct client *client = command_client(&common);
    bool terminal = isatty(STDOUT_FILENO) && !common.json;
    int rc = client ? 0 : EXIT_NO_ANSWER;
    json_t *before = rc ? NULL : ask(client, "/v1/usage", &rc);
    uint64_t then = clock_ns();
    for (bool more = true; !rc && more; more = terminal) {
        usleep((terminal ? PAUSE_MS : SHORT_PAUSE_MS) * 1000);
        json_t *nodes = ask(client, "/v1/nodes", &rc);
        json_t *guests = rc ? NULL : ask(client, "/v1/usage", &rc);
        uint64_t now = clock_ns();
        if (!rc) {
            add_figures(guests, before, now - then);
            show(&common, nodes, guests, terminal);
        }
        json_decref(nodes);
        json_decref(before);
        before = guests;
        then = now;
    }
    json_decref(before);
    client_free(client);
    return rc;
}
