/* The cluster store when things go wrong: real etcd servers killed, stopped, replaced; SQLite's process killed; a
 * simulated network that loses what it likes. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/base/container.h"
#include "node/base/loop.h"
#include "node/base/store_sim.h"
#include "tests/unit/etcd_process.h"
#include "tests/unit/store_world.h"

/* ---- etcd ---- */

static struct etcd_cluster cluster;

static void start(struct store_world *w, int members, bool tls, uint32_t timeout_ms)
{
    struct err err = {0};
    store_world_kind = &store_world_etcd; /* for its way of turning */
    *w = (struct store_world){0};
    w->loop = loop_new(&err);
    assert_non_null(w->loop);
    store_world_directory(w->path, sizeof w->path);
    etcd_cluster_start(&cluster, w->path, members, tls);
    w->store = store_world_etcd_open(w, &cluster, 20000);
    world_revision(w); /* waits until it is there */
    store_world_close(w);
    w->store = store_world_etcd_open(w, &cluster, timeout_ms);
}

static void stop(struct store_world *w)
{
    store_world_close(w);
    etcd_cluster_stop(&cluster);
    assert_int_equal(loop_in_flight(w->loop), 0);
    loop_free(w->loop);
    store_world_remove(w->path);
}

static int put_number(struct store_world *w, int number)
{
    char key[32], value[32];
    snprintf(key, sizeof key, "n/%d", number % 7);
    snprintf(value, sizeof value, "%d", number);
    return world_put(w, key, value, STORE_ANY, NULL);
}

/* Every number from `from` to `to`, once and in order. */
static void expect_numbers(const struct world_watch *watch, int from, int to)
{
    for (int i = from; i <= to; i++) {
        char text[64];
        snprintf(text, sizeof text, "+n/%d=%d", i % 7, i);
        assert_string_equal(watch->seen[i - from], text);
    }
}

static void a_server_that_comes_back_is_found_again(void **state)
{
    struct store_world w;
    (void)state;
    start(&w, 1, false, 2000);
    struct world_watch *watch = world_watch(&w, "n/", world_revision(&w));
    world_await_up(watch);
    for (int i = 0; i < 20; i++)
        assert_int_equal(put_number(&w, i), 0);
    world_await(watch, 20);
    for (int round = 1; round <= 3; round++) {
        etcd_member_kill(&cluster, 0);
        while (watch->up)
            store_world_turn(&w);
        assert_int_equal(put_number(&w, 999), -EHOSTUNREACH); /* nothing happened */
        etcd_member_start(&cluster, 0);
        int from = round * 20, rc;
        while ((rc = put_number(&w, from)) == -EHOSTUNREACH) /* it is still starting */
            continue;
        assert_int_equal(rc, 0);
        for (int i = from + 1; i < from + 20; i++)
            assert_int_equal(put_number(&w, i), 0);
        world_await(watch, (uint32_t)from + 20);
        assert_true(watch->up);
    }
    expect_numbers(watch, 0, 79);
    assert_int_equal(watch->count, 80);
    world_unwatch(watch);
    stop(&w);
}

static void history_that_went_meanwhile_is_said(void **state)
{
    struct store_world w;
    (void)state;
    start(&w, 1, false, 2000);
    struct world_watch *watch = world_watch(&w, "n/", world_revision(&w));
    world_await_up(watch);
    assert_int_equal(put_number(&w, 0), 0);
    world_await(watch, 1);
    store_world_close(&w); /* the watch goes with it, without a word */
    assert_false(watch->ended);
    w.store = store_world_etcd_open(&w, &cluster, 2000);
    for (int i = 1; i < 5; i++)
        assert_int_equal(put_number(&w, i), 0);
    char body[64];
    snprintf(body, sizeof body, "{\"revision\":\"%lld\"}", (long long)world_revision(&w));
    store_world_etcd_post(&w, &cluster, "/v3/kv/compaction", body);
    struct world_watch *late = world_watch(&w, "n/", watch->revision);
    world_await_end(late);
    assert_int_equal(late->result, -ESTALE);
    assert_int_equal(late->count, 0);
    world_unwatch(late);
    free(watch->seen[0]);
    free(watch);
    stop(&w);
}

static void a_silent_server_leaves_the_outcome_open(void **state)
{
    struct store_world w;
    (void)state;
    start(&w, 1, false, 1000);
    assert_int_equal(put_number(&w, 0), 0);
    kill(cluster.members[0].pid, SIGSTOP);
    int rc = put_number(&w, 1);
    assert_int_equal(rc, -ETIMEDOUT);
    assert_int_equal(store_outcome(rc), STORE_UNKNOWN);
    kill(cluster.members[0].pid, SIGCONT);
    while ((rc = put_number(&w, 2)) == -ETIMEDOUT)
        continue;
    assert_int_equal(rc, 0);
    stop(&w);
}

static void another_store_in_its_place_is_noticed(void **state)
{
    struct store_world w;
    char data[600];
    (void)state;
    start(&w, 1, false, 20000);
    for (int i = 0; i < 10; i++)
        assert_int_equal(put_number(&w, i), 0);
    struct world_watch *watch = world_watch(&w, "n/", world_revision(&w));
    world_await_up(watch);
    etcd_member_kill(&cluster, 0);
    snprintf(data, sizeof data, "%s/m0", w.path);
    store_world_remove(data);
    etcd_member_start(&cluster, 0);
    world_await_end(watch);
    assert_int_equal(watch->result, -ESTALE);
    world_unwatch(watch);
    assert_string_equal(world_list(&w, "n/", NULL, 0, NULL), "");
    stop(&w);
}

static void one_of_two_endpoints_may_be_dead(void **state)
{
    struct store_world w;
    (void)state;
    start(&w, 1, true, 3000);
    store_world_close(&w);
    char uri[200], ca[600], cert[600], key[600];
    struct err err = {0};
    snprintf(uri, sizeof uri, "etcd:https://127.0.0.1:%d,localhost:%d", etcd_free_port(),
             cluster.members[0].client_port);
    snprintf(ca, sizeof ca, "%s/ca.pem", w.path);
    snprintf(cert, sizeof cert, "%s/client.pem", w.path);
    snprintf(key, sizeof key, "%s/client.key", w.path);
    struct store_options options = {.ca_file = ca, .cert_file = cert, .key_file = key, .timeout_ms = 3000};
    w.store = store_open(uri, w.loop, &options, &err);
    assert_non_null(w.store);
    struct world_watch *watch = world_watch(&w, "n/", 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(put_number(&w, i), 0);
    world_await(watch, 10);
    expect_numbers(watch, 0, 9);
    world_unwatch(watch);
    store_world_close(&w);

    options.ca_file = cert; /* not who signed the server's certificate */
    w.store = store_open(uri, w.loop, &options, &err);
    assert_non_null(w.store);
    int rc = put_number(&w, 10);
    assert_true(rc == -EACCES || rc == -EHOSTUNREACH); /* by which endpoint was tried last */
    store_world_close(&w);
    options = (struct store_options){.ca_file = ca, .timeout_ms = 3000}; /* no certificate of our own */
    snprintf(uri, sizeof uri, "etcd:https://127.0.0.1:%d", cluster.members[0].client_port);
    w.store = store_open(uri, w.loop, &options, &err);
    assert_non_null(w.store);
    assert_int_equal(put_number(&w, 10), -EACCES);
    stop(&w);
}

static int find_leader(struct store_world *w)
{
    for (;;)
        for (int i = 0; i < cluster.count; i++)
            if (cluster.members[i].pid && store_world_etcd_leads(w, &cluster, i))
                return i;
}

/* Writes the numbers up to `end`, each until it is acknowledged; of some the outcome stays open at first. */
static void put_until_acknowledged(struct store_world *w, int *number, int end, bool *open)
{
    for (; *number < end; (*number)++) {
        int rc;
        while ((rc = put_number(w, *number))) {
            assert_true(store_outcome(rc) == STORE_UNREACHED || store_outcome(rc) == STORE_UNKNOWN);
            open[*number] |= store_outcome(rc) == STORE_UNKNOWN;
        }
    }
}

static void a_lost_leader_loses_nothing(void **state)
{
    struct store_world w;
    bool open[30] = {false};
    int number = 0, expected = 0;
    (void)state;
    start(&w, 3, false, 5000);
    struct world_watch *watch = world_watch(&w, "n/", 1);
    put_until_acknowledged(&w, &number, 10, open);
    for (int round = 0; round < 2; round++) {
        int leader = find_leader(&w);
        if (round) { /* it neither answers nor is it gone */
            kill(cluster.members[leader].pid, SIGSTOP);
        } else {
            etcd_member_kill(&cluster, leader);
        }
        put_until_acknowledged(&w, &number, number + 10, open);
        if (round)
            kill(cluster.members[leader].pid, SIGCONT);
        else
            etcd_member_start(&cluster, leader);
    }
    for (uint32_t i = 0; expected < number; i++) { /* in order; what was open may come once more, however late */
        while (i == watch->count) {
            store_world_turn(&w);
            assert_false(watch->ended);
        }
        int seen = atoi(strchr(watch->seen[i], '=') + 1);
        assert_true(seen == expected || (seen < expected && open[seen]));
        expected += seen == expected;
    }
    world_unwatch(watch);
    stop(&w);
}

struct early_commit {
    struct store_commit commit;
    struct store_change change;
    char key[32];
    int done;
};

static void early_done(struct store_commit *commit, int result)
{
    struct early_commit *e = CONTAINER_OF(commit, struct early_commit, commit);
    assert_int_equal(result, 0);
    e->done++;
}

/* Commits that come before anything is known of the endpoint wait for it, and not for one another. */
static void many_commits_may_come_first(void **state)
{
    enum { COUNT = 40 };
    static struct early_commit commits[COUNT];
    struct store_world w;
    (void)state;
    start(&w, 1, false, 5000);
    for (int i = 0; i < COUNT; i++) {
        struct early_commit *e = &commits[i];
        *e = (struct early_commit){.commit = {.changes = &e->change, .count = 1, .done = early_done}};
        snprintf(e->key, sizeof e->key, "early/%d", i);
        e->change = (struct store_change){STORE_PUT, e->key, "x", 1, STORE_ABSENT, 0};
        store_commit(w.store, &e->commit);
    }
    for (int i = 0; i < COUNT; i++)
        while (!commits[i].done)
            store_world_turn(&w);
    stop(&w);
}

/* ---- sqlite ---- */

static void open_sqlite(struct store_world *w)
{
    store_world_kind = &store_world_sqlite;
    store_world_kind->start(w);
    w->store = store_world_kind->open(w);
}

static void close_sqlite(struct store_world *w)
{
    store_world_close(w);
    store_world_kind->stop(w);
}

static void a_file_is_private_and_kept(void **state)
{
    struct store_world w = {0};
    char file[600];
    struct stat st;
    int64_t revision, lease;
    (void)state;
    store_world_directory(w.path, sizeof w.path);
    umask(0);
    open_sqlite(&w);
    snprintf(file, sizeof file, "%s/store.db", w.path);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    snprintf(file, sizeof file, "%s/store.db-wal", w.path);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    world_put(&w, "a", "1", STORE_ANY, NULL);
    int64_t start = world_revision(&w);
    world_put(&w, "a", "2", STORE_ANY, &revision);
    assert_int_equal(world_grant(&w, 5000, &lease), 0);
    close_sqlite(&w);

    open_sqlite(&w);
    assert_int_equal(world_revision(&w), revision);
    assert_string_equal(world_get(&w, "a", NULL), "2");
    assert_int_equal(world_keep(&w, lease), 0); /* leases begin anew */
    struct world_watch *watch = world_watch(&w, "", start);
    world_await(watch, 1);
    assert_string_equal(watch->seen[0], "+a=2");
    world_unwatch(watch);
    close_sqlite(&w);
    store_world_remove(w.path);
}

static void a_file_has_one_user(void **state)
{
    struct store_world w = {0};
    (void)state;
    store_world_directory(w.path, sizeof w.path);
    open_sqlite(&w);
    assert_int_equal(world_put(&w, "a", "1", STORE_ANY, NULL), 0);
    char uri[600];
    snprintf(uri, sizeof uri, "sqlite:%s/store.db", w.path);
    struct err err = {0};
    assert_null(store_open(uri, w.loop, NULL, &err)); /* this process */
    assert_int_equal(err.code, EBUSY);
    pid_t pid = fork();
    if (!pid) { /* another one */
        struct err e = {0};
        struct loop *loop = loop_new(&e);
        struct store *s = store_open(uri, loop, NULL, &e);
        _exit(!s && e.code == EBUSY && strstr(e.text, "in use") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(world_put(&w, "a", "2", STORE_ANY, NULL), 0); /* still ours */
    close_sqlite(&w);
    store_world_remove(w.path);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect_refusal(struct loop *loop, const char *uri, int code)
{
    struct err err = {0};
    assert_null(store_open(uri, loop, NULL, &err));
    assert_int_equal(err.code, code);
    assert_true(err.text[0]);
}

static void wrong_files_and_addresses_are_refused(void **state)
{
    struct store_world w = {0};
    char path[600], uri[700], command[2000];
    (void)state;
    store_world_directory(w.path, sizeof w.path);
    open_sqlite(&w);
    for (int i = 0; i < 100; i++)
        world_put(&w, "damage", "this is a value that is overwritten in the file", STORE_ANY, NULL);
    close_sqlite(&w);
    store_world_kind->start(&w);
    snprintf(path, sizeof path, "%s/text", w.path);
    write_file(path, "this is no database, but it is long enough to have a header of a hundred bytes, or so it seems to"
                     " me, and I have counted them twice");
    snprintf(uri, sizeof uri, "sqlite:%s", path);
    expect_refusal(w.loop, uri, EUCLEAN);
    snprintf(command, sizeof command, "sqlite3 '%s/foreign' 'create table t(x)'", w.path);
    assert_int_equal(system(command), 0);
    snprintf(uri, sizeof uri, "sqlite:%s/foreign", w.path);
    expect_refusal(w.loop, uri, EINVAL);
    snprintf(command, sizeof command,
             "dd if=/dev/zero of='%s/store.db' bs=4096 seek=1 count=1 conv=notrunc 2>/dev/null", w.path);
    assert_int_equal(system(command), 0);
    snprintf(uri, sizeof uri, "sqlite:%s/store.db", w.path);
    expect_refusal(w.loop, uri, EUCLEAN);
    snprintf(uri, sizeof uri, "sqlite:%s/no/such/folder", w.path);
    expect_refusal(w.loop, uri, ENOENT);
    expect_refusal(w.loop, "sqlite:", EINVAL);
    expect_refusal(w.loop, "sqlite::memory:", EINVAL);
    expect_refusal(w.loop, "consul:http://127.0.0.1", EINVAL);
    expect_refusal(w.loop, "nothing", EINVAL);
    expect_refusal(w.loop, "sim:", EINVAL);
    expect_refusal(w.loop, "etcd:", EINVAL);
    expect_refusal(w.loop, "etcd:ftp://127.0.0.1", EINVAL);
    expect_refusal(w.loop, "etcd:http://10.0.0.1:2379", EINVAL);
    expect_refusal(w.loop, "etcd:http://127.evil@10.0.0.1", EINVAL);
    expect_refusal(w.loop, "etcd:https://a,,b", EINVAL);
    expect_refusal(w.loop, "etcd:https://a:b", EINVAL);
    expect_refusal(w.loop, "etcd:https://a:1/path", EINVAL);
    expect_refusal(w.loop, "etcd:https://user@a:1", EINVAL);
    store_world_kind->stop(&w);
    store_world_remove(w.path);
}

/* Writes numbers for ever and says each, when it is acknowledged, on a pipe. */
static void write_and_tell(const char *path, int pipe_fd)
{
    struct store_world w = {0};
    snprintf(w.path, sizeof w.path, "%s", path);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    open_sqlite(&w);
    const char *now = world_get(&w, "last", NULL);
    for (uint32_t n = *now == '(' ? 1 : (uint32_t)atoi(now) + 1;; n++) {
        char text[32], other[32];
        snprintf(text, sizeof text, "%u", n);
        snprintf(other, sizeof other, "k/%u", n % 50);
        struct store_change changes[] = {{STORE_PUT, "last", text, strlen(text), STORE_ANY, 0},
                                         {STORE_PUT, other, text, strlen(text), STORE_ANY, 0}};
        struct store_commit c = {.changes = changes, .count = 2};
        if (world_commit(&w, &c) || write(pipe_fd, &n, sizeof n) != sizeof n)
            _exit(1);
    }
}

static void what_was_acknowledged_survives_a_kill(void **state)
{
    enum { ROUNDS = 25 };
    struct store_world w = {0};
    uint32_t last = 0;
    (void)state;
    store_world_directory(w.path, sizeof w.path);
    srand(7);
    for (int round = 0; round < ROUNDS; round++) {
        int fds[2];
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid_t pid = fork();
        if (!pid)
            write_and_tell(w.path, fds[1]);
        close(fds[1]);
        uint32_t n, enough = 1 + (uint32_t)rand() % 30;
        for (uint32_t i = 0; i < enough && read(fds[0], &n, sizeof n) == sizeof n; i++)
            last = n;
        usleep((useconds_t)(rand() % 3000)); /* somewhere in a commit */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (read(fds[0], &n, sizeof n) == sizeof n)
            last = n;
        close(fds[0]);
        open_sqlite(&w);
        uint32_t found = (uint32_t)atoi(world_get(&w, "last", NULL));
        assert_true(found == last || found == last + 1); /* the next one may have been under way */
        char key[32], text[32];
        snprintf(key, sizeof key, "k/%u", found % 50);
        snprintf(text, sizeof text, "%u", found);
        assert_string_equal(world_get(&w, key, NULL), text); /* whole commits only */
        last = found;
        close_sqlite(&w);
    }
    store_world_remove(w.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_that_comes_back_is_found_again),
        cmocka_unit_test(history_that_went_meanwhile_is_said),
        cmocka_unit_test(a_silent_server_leaves_the_outcome_open),
        cmocka_unit_test(another_store_in_its_place_is_noticed),
        cmocka_unit_test(one_of_two_endpoints_may_be_dead),
        cmocka_unit_test(a_lost_leader_loses_nothing),
        cmocka_unit_test(many_commits_may_come_first),
        cmocka_unit_test(a_file_is_private_and_kept),
        cmocka_unit_test(a_file_has_one_user),
        cmocka_unit_test(wrong_files_and_addresses_are_refused),
        cmocka_unit_test(what_was_acknowledged_survives_a_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
