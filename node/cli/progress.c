#include "node/cli/progress.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/base/clock.h"
#include "node/base/err.h"
#include "node/cli/client.h"
#include "node/cli/command.h"
#include "node/cli/table.h"

enum { LOOK_MS = 200, BAR_WIDTH = 30, PATH_BYTES = 512, EXIT_REFUSED = 1, EXIT_NO_ANSWER = 3, EXIT_TOO_LONG = 5 };

static const char *text_of(const json_t *object, const char *path)
{
    const char *text = json_string_value(table_member(object, path));
    return text ? text : "";
}

/* What its node said last of it. */
static const char *step_of(const json_t *task)
{
    const json_t *log = table_member(task, "state.log");
    const char *text = json_string_value(json_object_get(json_array_get(log, json_array_size(log) - 1), "text"));
    return text ? text : "waiting for its node";
}

static void draw(const json_t *task)
{
    json_int_t done = json_integer_value(table_member(task, "state.done_bytes"));
    json_int_t total = json_integer_value(table_member(task, "state.total_bytes"));
    fprintf(stderr, "\r\033[K%s %s: %.60s", text_of(task, "spec.object_kind"), text_of(task, "spec.object"),
            step_of(task));
    if (total > 0 && done <= total) {
        int filled = (int)(done * BAR_WIDTH / total);
        fprintf(stderr, " [%.*s%*s] %d%%", filled, "##############################", BAR_WIDTH - filled, "",
                (int)(done * 100 / total));
    }
}

/* The exit code, or -1: it runs. */
static int verdict(const json_t *task, bool late)
{
    const char *phase = text_of(task, "state.phase"), *reason = text_of(task, "state.reason");
    if (!strcmp(phase, "done"))
        return 0;
    bool running = !*phase || !strcmp(phase, "running"); /* "": its node has not looked yet */
    if (running && !late)
        return -1;
    fprintf(stderr, "drover: %s %s: %s %s%s%s\n", text_of(task, "spec.object_kind"), text_of(task, "spec.object"),
            text_of(task, "spec.verb"), running ? "is still under way: " : phase, !running && *reason ? ": " : "",
            running ? step_of(task) : reason);
    return running ? EXIT_TOO_LONG : EXIT_REFUSED;
}

int progress_wait(struct client *client, const char *task, unsigned timeout_s)
{
    struct client_answer answer;
    struct err err = {0};
    char path[PATH_BYTES] = "/v1/tasks/";
    bool terminal = isatty(STDERR_FILENO);
    uint64_t end = clock_ns() + timeout_s * 1000000000ull;
    int rc = -1;
    client_escape(task, path + strlen(path), sizeof path - strlen(path));
    while (rc < 0) {
        if (client_request(client, "GET", path, NULL, NULL, NULL, &answer, &err)) {
            fprintf(stderr, "drover: %s\n", err.text);
            return EXIT_NO_ANSWER;
        }
        bool refused = answer.status >= 400;
        if (terminal)
            fprintf(stderr, "\r\033[K");
        rc = refused ? command_problem(answer.status, answer.body) : verdict(answer.body, clock_ns() > end);
        if (terminal && rc < 0)
            draw(answer.body);
        client_answer_free(&answer);
        if (rc < 0)
            usleep(LOOK_MS * 1000);
    }
    return rc;
}

int progress_run(const struct command *command, int argc, char **argv)
{
    struct command_common common;
    const char *task = command_one_name(command, argc, argv, &common);
    struct client *client = command_client(&common);
    int rc = client ? progress_wait(client, task, common.timeout_s) : EXIT_NO_ANSWER;
    client_free(client);
    return rc;
}
