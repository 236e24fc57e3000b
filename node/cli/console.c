#include "node/cli/console.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "node/base/err.h"
#include "node/cli/client.h"
#include "node/cli/command.h"
#include "node/cli/stream.h"

enum { EXIT_NO_ANSWER = 3, ESCAPE = 'a' & 0x1f };

/* The terminal as it was, for the way out. */
static struct termios before;
static bool is_raw;

static void cook(void)
{
    if (is_raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
    is_raw = false;
}

static void make_raw(void)
{
    struct termios raw;
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before))
        return;
    raw = before;
    cfmakeraw(&raw);
    is_raw = !tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    atexit(cook);
}

static struct stream *open_stream(struct client *client, const char *path, int *code)
{
    struct err err = {0};
    struct client_answer answer = {0};
    struct stream *s = client ? stream_open(client, path, &answer, &err) : NULL;
    *code = EXIT_NO_ANSWER;
    if (answer.status)
        *code = command_problem(answer.status, answer.body);
    else if (client && !s)
        fprintf(stderr, "drover: %s\n", err.text);
    client_answer_free(&answer);
    return s;
}

/* Everything that is there, to standard output. 0, or -EPIPE. */
static int print_all(struct stream *s, bool lines, struct err *err)
{
    const char *data;
    size_t bytes;
    int rc;
    while (!(rc = stream_next(s, &data, &bytes, err))) {
        fwrite(data, 1, bytes, stdout);
        if (lines)
            putchar('\n');
        fflush(stdout);
    }
    return rc == -EAGAIN ? 0 : rc;
}

/* Typed bytes to the guest; true: Ctrl-A x. Ctrl-A twice is one. */
static bool type(struct stream *s, bool *escaped, bool *open, struct err *err)
{
    char keys[1024], sent[2048];
    size_t n = 0;
    ssize_t got = read(STDIN_FILENO, keys, sizeof keys);
    if (got <= 0) {
        *open = false;
        return false;
    }
    for (ssize_t i = 0; i < got; i++) {
        if (*escaped && keys[i] == 'x')
            return true;
        if (!*escaped && keys[i] == ESCAPE && is_raw) {
            *escaped = true;
            continue;
        }
        if (*escaped && keys[i] != ESCAPE)
            sent[n++] = ESCAPE;
        *escaped = false;
        sent[n++] = keys[i];
    }
    return n && stream_send(s, false, sent, n, err);
}

static int talk(struct stream *s)
{
    struct err err = {0};
    bool escaped = false, open = true;
    for (;;) {
        struct pollfd p[2] = {{.fd = stream_fd(s), .events = POLLIN},
                              {.fd = open ? STDIN_FILENO : -1, .events = POLLIN}};
        if (print_all(s, false, &err))
            break;
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        if (p[1].revents && type(s, &escaped, &open, &err))
            break;
    }
    cook();
    fprintf(stderr, "\n%s\n", err.text[0] ? err.text : "left");
    return 0;
}

int console_run(const struct command *command, int argc, char **argv)
{
    struct command_common common = {0};
    char path[512] = "/v1/guests/", name[256];
    const char *guest = command_one_name(command, argc, argv, &common);
    int code;
    client_escape(guest, name, sizeof name);
    snprintf(path, sizeof path, "/v1/guests/%s/console", name);
    struct client *client = command_client(&common);
    struct stream *s = open_stream(client, path, &code);
    if (s) {
        fprintf(stderr, "the console of %s; Ctrl-A x leaves\n", guest);
        make_raw();
        code = talk(s);
    }
    stream_close(s);
    client_free(client);
    return code;
}

int console_follow(const struct command *command, int argc, char **argv)
{
    struct command_common common = {0};
    struct err err = {0};
    int code;
    command_one_name(command, argc, argv, &common);
    struct client *client = command_client(&common);
    struct stream *s = open_stream(client, "/v1/events", &code);
    while (s && !print_all(s, true, &err)) {
        struct pollfd p = {.fd = stream_fd(s), .events = POLLIN};
        poll(&p, 1, -1);
    }
    if (s)
        fprintf(stderr, "drover: %s\n", err.text);
    stream_close(s);
    client_free(client);
    return code;
}
