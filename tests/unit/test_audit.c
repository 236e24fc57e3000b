/* The audit log: a chain that shows what was done to it, over restarts, torn lines and full files. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/agent/audit.h"
#include "node/base/err.h"
#include "node/base/loop.h"

struct world {
    struct loop *loop;
    char directory[64], path[80];
};

static const struct audit_entry entry = {.who = "token:alice",
                                         .role = "operator",
                                         .from = "192.0.2.7:41000",
                                         .method = "POST",
                                         .path = "/v1/guests",
                                         .target = "web-1",
                                         .why = "more load",
                                         .status = 201};

static int setup(void **state)
{
    static struct world w;
    strcpy(w.directory, "/tmp/drover-audit-XXXXXX");
    if (!mkdtemp(w.directory))
        return -1;
    snprintf(w.path, sizeof w.path, "%s/audit.jsonl", w.directory);
    w.loop = loop_new(NULL);
    *state = &w;
    return w.loop ? 0 : -1;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char command[128];
    loop_free(w->loop);
    snprintf(command, sizeof command, "rm -r %s", w->directory);
    return system(command);
}

static struct audit *begin(struct world *w)
{
    struct err err = {0};
    struct audit *a = audit_new(w->loop, &(struct audit_config){.path = w->path}, &err);
    if (!a)
        fail_msg("%s", err.text);
    return a;
}

static void write_lines(struct audit *a, unsigned count)
{
    struct err err = {0};
    while (count--)
        if (audit_write(a, &entry, &err))
            fail_msg("%s", err.text);
}

static size_t contents(const char *path, char *text, size_t room)
{
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    size_t n = fread(text, 1, room - 1, f);
    fclose(f);
    text[n] = 0;
    return n;
}

static void replace(const char *path, const char *text, size_t len)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    fclose(f);
}

static void test_chain(void **state)
{
    struct world *w = *state;
    struct audit_report r;
    struct err err = {0};
    struct stat st;
    struct audit *a = begin(w);
    write_lines(a, 3);
    audit_free(a);
    a = begin(w); /* after a restart the chain goes on */
    write_lines(a, 2);
    audit_free(a);
    assert_int_equal(audit_verify(w->path, NULL, &r, &err), 0);
    assert_int_equal(r.lines, 5);
    assert_int_equal(r.first_seq, 1);
    assert_int_equal(r.last_seq, 5);
    assert_int_equal(strspn(r.first_prev, "0"), AUDIT_HASH_HEX);
    assert_int_equal(audit_verify(w->path, r.last_hash, &r, &err), -EBADMSG);
    assert_int_equal(audit_verify_all(w->path, &r, &err), 0);
    assert_int_equal(r.files, 1);
    assert_int_equal(r.lines, 5);
    assert_int_equal(stat(w->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* Every byte of every line, every line taken out, put twice or moved: it shows. What was spoiled at the very end looks
 * like a torn line, and the chain ends before it. */
static void test_changes_show(void **state)
{
    struct world *w = *state;
    static char text[8192], changed[8192];
    char zeroes[AUDIT_HASH_HEX + 1] = "";
    struct audit_report r;
    struct audit *a = begin(w);
    memset(zeroes, '0', AUDIT_HASH_HEX);
    write_lines(a, 3);
    audit_free(a);
    size_t len = contents(w->path, text, sizeof text);
    size_t first = (size_t)(strchr(text, '\n') - text) + 1;
    size_t second = (size_t)(strchr(text + first, '\n') - text) + 1;
    for (size_t i = 0; i < second; i++) {
        memcpy(changed, text, len);
        changed[i] ^= 1;
        replace(w->path, changed, len);
        int rc = audit_verify(w->path, zeroes, &r, NULL);
        if (rc == 0 && !(r.torn && r.last_seq < 3))
            fail_msg("byte %zu was changed and nobody noticed", i);
    }
    memcpy(changed, text, first);
    memcpy(changed + first, text + second, len - second);
    replace(w->path, changed, first + len - second);
    assert_int_equal(audit_verify(w->path, NULL, &r, NULL), -EBADMSG); /* the second is missing */
    memcpy(changed, text, len);
    memcpy(changed + len, text + second, len - second);
    replace(w->path, changed, 2 * len - second);
    assert_int_equal(audit_verify(w->path, NULL, &r, NULL), -EBADMSG); /* the last is there twice */
    replace(w->path, text + first, len - first);
    assert_int_equal(audit_verify(w->path, NULL, &r, NULL), 0); /* the rest is a chain ... */
    assert_int_equal(r.first_seq, 2);                           /* ... that does not begin at the beginning */
    replace(w->path, text, len);
    assert_int_equal(audit_verify(w->path, NULL, &r, NULL), 0);
}

static void test_torn_line(void **state)
{
    struct world *w = *state;
    static char text[16384];
    struct audit_report r;
    struct err err = {0};
    struct audit *a = begin(w);
    write_lines(a, 2);
    audit_free(a);
    size_t len = contents(w->path, text, sizeof text);
    for (unsigned torn = 0; torn < 3; torn++) {
        size_t now = contents(w->path, text, sizeof text);
        memcpy(text + now, text, 50);
        replace(w->path, text, now + 50);
        a = begin(w);
        if (torn != 1)
            write_lines(a, 1);
        audit_free(a);
    }
    assert_int_equal(audit_verify(w->path, NULL, &r, &err), 0);
    assert_int_equal(r.lines, 4);
    assert_int_equal(r.torn, 3);
    assert_int_equal(r.last_seq, 4);
    replace(w->path, text, 40); /* torn in the first line */
    a = begin(w);
    write_lines(a, 1);
    audit_free(a);
    assert_int_equal(audit_verify(w->path, NULL, &r, &err), 0);
    assert_int_equal(r.last_seq, 1);
    (void)len;
}

static void test_not_an_audit_log(void **state)
{
    struct world *w = *state;
    struct err err = {0};
    replace(w->path, "root:x:0:0\nhello\n", 17);
    assert_null(audit_new(w->loop, &(struct audit_config){.path = w->path}, &err));
    assert_non_null(strstr(err.text, "does not end like an audit log"));
    char link[100];
    snprintf(link, sizeof link, "%s/link", w->directory);
    assert_int_equal(symlink(w->path, link), 0);
    assert_null(audit_new(w->loop, &(struct audit_config){.path = link}, &err));
}

static void test_rotation(void **state)
{
    struct world *w = *state;
    struct audit_report r;
    struct err err = {0};
    char older[100], prev[AUDIT_HASH_HEX + 1] = "";
    struct audit_config config = {.path = w->path, .file_bytes = 1000, .files = 3};
    struct audit *a = audit_new(w->loop, &config, &err);
    assert_non_null(a);
    write_lines(a, 30);
    audit_free(a);
    uint64_t last = 0;
    for (int i = 3; i >= 0; i--) {
        snprintf(older, sizeof older, i ? "%s.%d" : "%s", w->path, i);
        if (audit_verify(older, *prev ? prev : NULL, &r, &err))
            fail_msg("%s", err.text);
        if (last)
            assert_int_equal(r.first_seq, last + 1);
        last = r.last_seq;
        strcpy(prev, r.last_hash);
    }
    assert_int_equal(last, 30);
    assert_int_equal(audit_verify_all(w->path, &r, &err), 0);
    assert_int_equal(r.files, 4);
    assert_int_equal(r.last_seq, 30);
    assert_int_equal(r.lines, r.last_seq - r.first_seq + 1);
    snprintf(older, sizeof older, "%s.2", w->path);
    assert_int_equal(unlink(older), 0);
    assert_int_equal(audit_verify_all(w->path, &r, &err), -EBADMSG); /* a whole file is missing */
    snprintf(older, sizeof older, "%s.4", w->path);
    assert_int_equal(access(older, F_OK), -1);
}

/* Long texts, quotes, control characters, cut characters: the line is there and is JSON. */
static void test_hostile_texts(void **state)
{
    struct world *w = *state;
    struct audit_report r;
    struct err err = {0};
    static char quotes[5000], euros[5001];
    memset(quotes, '"', sizeof quotes - 1);
    for (unsigned i = 0; i + 3 < sizeof euros; i += 3)
        memcpy(euros + i, "\xe2\x82\xac", 3);
    struct audit_entry hostile = {.who = quotes,
                                  .role = quotes,
                                  .from = quotes,
                                  .method = quotes,
                                  .path = quotes,
                                  .target = "\x01\x02\n\xff",
                                  .why = euros,
                                  .status = 0,
                                  .code = quotes};
    struct audit *a = begin(w);
    assert_int_equal(audit_write(a, &hostile, &err), 0);
    write_lines(a, 1);
    audit_free(a);
    assert_int_equal(audit_verify(w->path, NULL, &r, &err), 0);
    assert_int_equal(r.lines, 2);
}

static void test_synced_by_itself(void **state)
{
    struct world *w = *state;
    struct err err = {0};
    struct audit *a = audit_new(w->loop, &(struct audit_config){.path = w->path, .sync_ms = 1}, &err);
    write_lines(a, 1);
    assert_true(audit_idle(a));
    while (audit_idle(a)) /* until it begins ... */
        loop_step(w->loop);
    while (!audit_idle(a)) /* ... and has ended */
        loop_step(w->loop);
    audit_free(a);
}

/* A line that does not fit leaves nothing behind, and the next one that does goes on with the chain. */
static void test_disk_full(void **state)
{
    struct world *w = *state;
    struct audit_report r;
    struct err err = {0};
    struct rlimit before;
    struct stat st;
    struct audit *a = begin(w);
    write_lines(a, 1);
    assert_int_equal(stat(w->path, &st), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit less = {(rlim_t)st.st_size + 20, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
    int partly = audit_write(a, &entry, &err);
    less.rlim_cur = (rlim_t)st.st_size;
    setrlimit(RLIMIT_FSIZE, &less);
    int not_at_all = audit_write(a, &entry, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(partly, -ENOSPC);
    assert_int_equal(not_at_all, -EFBIG);
    write_lines(a, 1);
    audit_free(a);
    assert_int_equal(audit_verify(w->path, NULL, &r, &err), 0);
    assert_true(r.lines == 2 && r.last_seq == 2 && r.torn == 0);
}

static void test_no_file(void **state)
{
    struct world *w = *state;
    struct audit_report r;
    struct err err = {0};
    assert_null(audit_new(w->loop, &(struct audit_config){.path = "/dev/null"}, &err));
    assert_non_null(strstr(err.text, "no regular file"));
    assert_int_equal(audit_verify("/nonexistent", NULL, &r, &err), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_chain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes_show, setup, teardown),
        cmocka_unit_test_setup_teardown(test_torn_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_an_audit_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rotation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_texts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_synced_by_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_file, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
