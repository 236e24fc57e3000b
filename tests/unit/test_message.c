/* Local messages: whole, with files, and what does not look like one is refused. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/base/err.h"
#include "node/base/message.h"

static struct message out, in;

static int setup(void **state)
{
    static int pair[2];
    *state = pair;
    memset(&out, 0, sizeof out);
    memset(&in, 0, sizeof in);
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int teardown(void **state)
{
    int *pair = *state;
    close(pair[0]);
    if (pair[1] >= 0)
        close(pair[1]);
    return 0;
}

static void say(struct message *m, uint16_t type, const char *text)
{
    m->type = type;
    m->id = 77;
    m->body_bytes = strlen(text);
    memcpy(m->body, text, m->body_bytes);
}

static void test_round_trip(void **state)
{
    int *pair = *state;
    struct err err;
    say(&out, 5, "{\"a\":1}");
    assert_int_equal(message_send(pair[0], &out, &err), 0);
    assert_int_equal(message_receive(pair[1], &in, &err), 0);
    assert_int_equal(in.type, 5);
    assert_int_equal(in.id, 77);
    assert_string_equal(in.body, "{\"a\":1}");
    assert_int_equal(in.fd_count, 0);
    close(pair[1]);
    pair[1] = -1;
    assert_int_equal(message_receive(pair[0], &in, &err), -EPIPE);
    assert_int_equal(message_send(pair[0], &out, &err), -EPIPE);
}

static void test_largest(void **state)
{
    int *pair = *state;
    struct err err;
    out.body_bytes = MESSAGE_BODY_MAX;
    memset(out.body, 'x', MESSAGE_BODY_MAX);
    assert_int_equal(message_send(pair[0], &out, &err), 0);
    assert_int_equal(message_receive(pair[1], &in, &err), 0);
    assert_int_equal(in.body_bytes, MESSAGE_BODY_MAX);
    assert_int_equal(in.body[MESSAGE_BODY_MAX - 1], 'x');
    assert_int_equal(in.body[MESSAGE_BODY_MAX], 0);
}

static void test_files(void **state)
{
    int *pair = *state;
    struct err err;
    char text[4] = "";
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    say(&out, 1, "");
    out.fds[0] = pipe_fds[1];
    out.fds[1] = pipe_fds[0];
    out.fd_count = 2;
    assert_int_equal(message_send(pair[0], &out, &err), 0);
    message_close_files(&out);
    assert_int_equal(message_receive(pair[1], &in, &err), 0);
    assert_int_equal(in.fd_count, 2);
    assert_int_equal(fcntl(in.fds[0], F_GETFD), FD_CLOEXEC);
    assert_int_equal(write(in.fds[0], "abc", 3), 3);
    assert_int_equal(read(in.fds[1], text, 3), 3);
    assert_string_equal(text, "abc");
    message_close_files(&in);
    assert_int_equal(in.fd_count, 0);
}

static int highest_fd(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

static void refuse(int *pair, const void *bytes, size_t count, const char *part)
{
    struct err err = {0};
    assert_int_equal(send(pair[0], bytes, count, 0), count);
    assert_int_equal(message_receive(pair[1], &in, &err), -EPROTO);
    assert_non_null(strstr(err.text, part));
}

static void test_not_a_message(void **state)
{
    int *pair = *state;
    struct message_wire wire;
    uint8_t bytes[MESSAGE_HEADER_BYTES + 3];
    say(&out, 1, "abc");
    message_pack(&wire, &out);
    memcpy(bytes, wire.header, sizeof wire.header);
    memcpy(bytes + sizeof wire.header, "abc", 3);
    refuse(pair, "hello", 5, "Drover");
    refuse(pair, bytes, sizeof bytes - 1, "Drover"); /* shorter than it says */
    refuse(pair, bytes, MESSAGE_HEADER_BYTES - 1, "Drover");
    bytes[5] = 9;
    refuse(pair, bytes, sizeof bytes, "version 9");
    bytes[5] = MESSAGE_VERSION;
    bytes[0] = 'X';
    refuse(pair, bytes, sizeof bytes, "Drover");
}

/* Files that came with a bad message do not pile up. */
static void test_files_of_a_bad_message(void **state)
{
    int *pair = *state;
    struct err err;
    struct message_wire wire;
    int before = highest_fd();
    say(&out, 1, "");
    out.fds[0] = pair[0];
    out.fd_count = 1;
    message_pack(&wire, &out);
    wire.header[0] = 0;
    assert_int_equal(sendmsg(pair[0], &wire.msg, 0), MESSAGE_HEADER_BYTES);
    assert_int_equal(message_receive(pair[1], &in, &err), -EPROTO);
    assert_int_equal(highest_fd(), before);
}

static void test_sockets(void **state)
{
    (void)state;
    char path[] = "/tmp/drover-message-XXXXXX", socket_path[64];
    struct err err;
    struct stat st;
    int listener, again, client;
    assert_non_null(mkdtemp(path));
    snprintf(socket_path, sizeof socket_path, "%s/s", path);
    assert_int_equal(message_connect(socket_path, &client, &err), -ENOENT);
    assert_int_equal(message_listen(socket_path, &listener, &err), 0);
    assert_int_equal(stat(socket_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(message_listen(socket_path, &again, &err), -EADDRINUSE); /* its owner lives */
    close(listener);
    assert_int_equal(message_listen(socket_path, &listener, &err), 0); /* and now it is dead */
    assert_int_equal(message_connect(socket_path, &client, &err), 0);
    close(client);
    close(listener);
    unlink(socket_path);
    rmdir(path);
    char longest[200];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(message_listen(longest, &listener, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_largest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_a_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_files_of_a_bad_message, setup, teardown),
        cmocka_unit_test(test_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
