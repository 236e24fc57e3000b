/* The control socket: what is permitted when, answers with the same id, events, and clients that misbehave. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "hv/control.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

struct fixture {
    struct loop *loop;
    struct control *control;
    struct control_handler handler;
    enum guest_state state;
    enum control_type asked;
    unsigned count;
    char directory[32], path[48];
    struct message message;
};

static enum guest_state state_of(struct control_handler *handler)
{
    return CONTAINER_OF(handler, struct fixture, handler)->state;
}

static json_t *health_of(struct control_handler *handler)
{
    (void)handler;
    return json_pack("{s:s, s:i}", "trouble", "panicked", "panics", 3);
}

static int handle(struct control_handler *handler, struct control_request *request, json_t **answer, struct err *err)
{
    struct fixture *f = CONTAINER_OF(handler, struct fixture, handler);
    f->asked = request->type;
    f->count++;
    if (request->type == CONTROL_STATUS)
        *answer = json_pack("{s:s}", "name", "web1");
    if (request->type == CONTROL_SAVE) {
        assert_int_equal(request->fd_count, 1);
        assert_int_equal(write(request->fds[0], "saved", 5), 5);
    }
    return request->type == CONTROL_BALLOON ? err_set(err, ENODEV, "no balloon") : 0;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err;
    int listener;
    strcpy(f->directory, "/tmp/drover-control-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->path, sizeof f->path, "%s/s", f->directory);
    f->handler = (struct control_handler){state_of, health_of, handle};
    f->state = GUEST_RUNNING;
    f->loop = loop_new(&err);
    assert_int_equal(message_listen(f->path, &listener, &err), 0);
    f->control = control_new(f->loop, listener, &f->handler, &err);
    *state = f;
    return f->control ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    control_free(f->control);
    loop_free(f->loop);
    unlink(f->path);
    rmdir(f->directory);
    free(f);
    return 0;
}

static int join(struct fixture *f)
{
    struct err err;
    int fd;
    assert_int_equal(message_connect(f->path, &fd, &err), 0);
    return fd;
}

static void say(struct fixture *f, int fd, unsigned type, const char *body, int file)
{
    struct err err;
    struct message *m = &f->message;
    m->type = (uint16_t)type;
    m->id = type + 1000;
    m->body_bytes = strlen(body);
    memcpy(m->body, body, m->body_bytes);
    m->fd_count = file >= 0;
    m->fds[0] = file;
    assert_int_equal(message_send(fd, m, &err), 0);
}

/* Turns the loop until the client has a message (or the end of the connection, which is an error). */
static int hear(struct fixture *f, int fd)
{
    struct err err;
    char byte;
    while (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
        loop_step(f->loop);
    int rc = message_receive(fd, &f->message, &err);
    return rc ? rc : f->message.type;
}

static int ask(struct fixture *f, int fd, unsigned type, const char *body, int file)
{
    say(f, fd, type, body, file);
    return hear(f, fd);
}

static void test_answers(void **state)
{
    struct fixture *f = *state;
    int fd = join(f);
    assert_int_equal(ask(f, fd, CONTROL_STATUS, "{}", -1), CONTROL_OK);
    assert_int_equal(f->message.id, CONTROL_STATUS + 1000);
    assert_string_equal(f->message.body, "{\"name\":\"web1\"}");
    assert_int_equal(ask(f, fd, CONTROL_PAUSE, "{}", -1), CONTROL_OK);
    assert_string_equal(f->message.body, "{}");
    assert_int_equal(ask(f, fd, CONTROL_BALLOON, "{\"bytes\":1}", -1), CONTROL_ERROR);
    assert_string_equal(f->message.body, "{\"code\":19,\"text\":\"no balloon\"}");
    assert_int_equal(f->count, 3);
    close(fd);
}

static void test_permits(void **state)
{
    struct fixture *f = *state;
    int fd = join(f);
    f->state = GUEST_FAILED;
    assert_int_equal(ask(f, fd, CONTROL_PAUSE, "{}", -1), CONTROL_ERROR);
    assert_non_null(strstr(f->message.body, "pause: not while the guest is failed"));
    assert_int_equal(ask(f, fd, CONTROL_RESET, "{}", -1), CONTROL_OK);
    f->state = GUEST_PAUSED;
    assert_int_equal(ask(f, fd, CONTROL_POWERDOWN, "{}", -1), CONTROL_ERROR);
    assert_int_equal(ask(f, fd, 0, "{}", -1), CONTROL_ERROR);
    assert_int_equal(ask(f, fd, 99, "{}", -1), CONTROL_ERROR);
    assert_non_null(strstr(f->message.body, "request 99 is not known"));
    assert_int_equal(ask(f, fd, CONTROL_SAVE, "{}", -1), CONTROL_ERROR);
    assert_non_null(strstr(f->message.body, "came with 0 files instead of 1"));
    assert_int_equal(ask(f, fd, CONTROL_STATUS, "[]", -1), CONTROL_ERROR);
    assert_int_equal(ask(f, fd, CONTROL_STATUS, "{\"a\":", -1), CONTROL_ERROR);
    assert_int_equal(f->count, 1);
    close(fd);
}

static void test_files(void **state)
{
    struct fixture *f = *state;
    int fd = join(f), pipe_fds[2];
    char text[6] = "";
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(ask(f, fd, CONTROL_SAVE, "{}", pipe_fds[1]), CONTROL_OK);
    close(pipe_fds[1]);
    assert_int_equal(read(pipe_fds[0], text, 5), 5);
    assert_string_equal(text, "saved");
    assert_int_equal(read(pipe_fds[0], text, 1), 0); /* the guest's copy is closed, too */
    assert_int_equal(ask(f, fd, CONTROL_STATUS, "{}", pipe_fds[0]), CONTROL_ERROR);
    close(pipe_fds[0]);
    close(fd);
}

static void test_events(void **state)
{
    struct fixture *f = *state;
    int fd = join(f), other = join(f);
    assert_int_equal(ask(f, fd, CONTROL_WATCH, "{}", -1), CONTROL_OK);
    assert_int_equal(ask(f, other, CONTROL_STATUS, "{}", -1), CONTROL_OK);
    f->state = GUEST_PAUSED;
    control_event(f->control, "pause", "by control");
    assert_int_equal(hear(f, fd), CONTROL_EVENT);
    assert_string_equal(f->message.body, "{\"event\":\"pause\",\"state\":\"paused\",\"text\":\"by control\","
                                         "\"trouble\":\"panicked\",\"panics\":3}");
    assert_int_equal(ask(f, fd, CONTROL_STATUS, "{}", -1), CONTROL_OK); /* requests go on */
    char byte;
    assert_int_equal(recv(other, &byte, 1, MSG_DONTWAIT), -1); /* who does not watch hears nothing */
    close(fd);
    close(other);
}

/* Requests and events at the same moment: every request is answered. */
static void test_events_between_requests(void **state)
{
    struct fixture *f = *state;
    int fd = join(f);
    assert_int_equal(ask(f, fd, CONTROL_WATCH, "{}", -1), CONTROL_OK);
    unsigned answers = 0;
    for (unsigned i = 0; i < 50; i++) {
        say(f, fd, CONTROL_STATUS, "{}", -1);
        control_event(f->control, "reset", "by the guest");
        control_event(f->control, "pause", "by control");
        int type;
        while ((type = hear(f, fd)) == CONTROL_EVENT)
            ;
        answers += type == CONTROL_OK;
    }
    assert_int_equal(answers, 50);
    close(fd);
}

static void test_strangers(void **state)
{
    struct fixture *f = *state;
    int bad = join(f), good = join(f);
    assert_int_equal(send(bad, "GET / HTTP/1.1", 14, 0), 14);
    assert_int_equal(hear(f, bad), -EPIPE);
    assert_int_equal(ask(f, good, CONTROL_STATUS, "{}", -1), CONTROL_OK);
    close(bad);
    /* more than there are places: the others wait until one is free */
    int many[8];
    for (unsigned i = 0; i < 8; i++)
        many[i] = join(f);
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(ask(f, many[i], CONTROL_STATUS, "{}", -1), CONTROL_OK);
    for (unsigned i = 0; i < 7; i++)
        close(many[i]);
    for (unsigned i = 7; i < 8; i++)
        assert_int_equal(ask(f, many[i], CONTROL_STATUS, "{}", -1), CONTROL_OK);
    for (unsigned i = 7; i < 8; i++)
        close(many[i]);
    close(good);
}

/* Where no descriptor is left, the next client waits without the loop going round and round for it. */
static void test_no_descriptor(void **state)
{
    struct fixture *f = *state;
    struct rlimit limit, none;
    struct err err;
    int listener;
    control_free(f->control);
    assert_int_equal(message_listen(f->path, &listener, &err), 0);
    int fd = join(f);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){0, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    f->control = control_new(f->loop, listener, &f->handler, &err);
    for (unsigned i = 0; i < 1000 && loop_in_flight(f->loop); i++)
        loop_step(f->loop);
    unsigned in_flight = loop_in_flight(f->loop);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(in_flight, 0);
    assert_int_equal(ask(f, fd, CONTROL_STATUS, "{}", -1), CONTROL_OK);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_permits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events_between_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strangers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_descriptor, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
