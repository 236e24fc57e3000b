/* drover-balancer-run, which `drover-balancer run` becomes: the balancer of a running cluster. One runs on each node,
 * beside its droverd; one of them is elected, and the others follow the store and wait.
 *
 *     follow.c (the store's objects) --> conductor.c (what is to be written) --> commit, with the election's check
 *                                         |  ^ conductor_job.c: a plan, on a thread of its own
 *
 * It speaks with the store alone: no node, no guest. It is started as root, reads certificates, and gives up
 * everything but that before it reads the first object. It ends when the file `--life` does, which its droverd holds
 * the other end of: then it gives back its election. */
#include <argp.h>
#include <errno.h>
#include <liburing.h>
#include <openssl/ssl.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "balancer/command.h"
#include "balancer/conductor.h"
#include "balancer/conductor_job.h"
#include "balancer/election.h"
#include "balancer/follow.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/sandbox.h"
#include "node/base/store.h"
#include "node/base/store_tls.h"
#include "node/base/timestamp.h"
#include "node/base/tls.h"
#include "node/base/worker.h"

const char *argp_program_version = "drover-balancer-run " DROVER_VERSION;

enum key { KEY_STORE = 256, KEY_STATE, KEY_NODE, KEY_LIFE };
enum { LOOK_MS = 1000, SEARCH_S = 2, LIFE_MAX = 1 << 20 };

struct arguments {
    const char *store, *state, *node;
    int life;
    bool verbose;
};

struct serve {
    const struct arguments *arguments;
    struct loop *loop;
    struct store *store;
    struct follow follow;
    struct election election;
    struct conductor conductor;
    struct loop_timer timer;
    struct loop_job job;
    struct loop_op life;
    char life_byte;
    struct store_commit commit;
    struct store_change changes[CONDUCTOR_PUTS_MAX + 1];
    char *texts[CONDUCTOR_PUTS_MAX];
    struct conductor_step step;
    struct worker *worker; /* of one thread */
    struct worker_task task;
    struct conductor_job *planning; /* NULL: nothing is under way */
    _Atomic uint64_t search_end_ns; /* the thread looks at it */
    bool busy, ending, ended, gone, closed;
};

static const struct argp_option options[] = {
    {"store", KEY_STORE, "URI", 0, "the cluster's store, as droverd has it: etcd:https://HOST:2379,...", 0},
    {"state", KEY_STATE, "FOLDER", 0, "droverd's folder, for the certificates in it (/var/lib/drover)", 0},
    {"node", KEY_NODE, "NAME", 0, "which node this is", 0},
    {"life", KEY_LIFE, "FD", 0, "end when this file ends", 0},
    {"verbose", 'v', NULL, 0, "log more", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case KEY_STORE:
        a->store = arg;
        return 0;
    case KEY_STATE:
        a->state = arg;
        return 0;
    case KEY_NODE:
        a->node = arg;
        return 0;
    case KEY_LIFE:
        a->life = (int)command_number(arg, state, "life", LIFE_MAX);
        return 0;
    case 'v':
        a->verbose = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", arg);
        return 0;
    case ARGP_KEY_END:
        if (!a->store || !a->node)
            argp_error(state, "--store URI and --node NAME are needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- looking, and writing what follows from it ---- */

static bool search_is_over(void *data)
{
    const struct serve *s = data;
    return clock_ns() > s->search_end_ns;
}

static void run_job(struct worker_task *task)
{
    conductor_job_run(CONTAINER_OF(task, struct serve, task)->planning);
}

static void look_soon(struct serve *s);

static void job_was_run(struct worker_task *task)
{
    struct serve *s = CONTAINER_OF(task, struct serve, task);
    s->planning = NULL;
    conductor_job_done(&s->conductor);
    look_soon(s);
}

static void hand_over(void *data, struct conductor_job *job)
{
    struct serve *s = data;
    s->planning = job;
    s->task = (struct worker_task){.run = run_job, .done = job_was_run};
    s->search_end_ns = clock_ns() + SEARCH_S * UINT64_C(1000000000);
    worker_submit(s->worker, &s->task);
}

static void look_soon(struct serve *s)
{
    if (!s->ending)
        loop_defer_late(s->loop, &s->job);
}

static void free_step(struct serve *s)
{
    for (int i = 0; i < s->step.count; i++)
        free(s->texts[i]);
    conductor_step_fini(&s->step);
}

static void committed(struct store_commit *commit, int result)
{
    struct serve *s = CONTAINER_OF(commit, struct serve, commit);
    bool hours = s->step.count && s->step.puts[0].stays;
    s->busy = false;
    free_step(s);
    if (result == -ESTALE && !commit->conflict) {
        log_warn("a write was refused: another balancer is elected");
        election_lost(&s->election, "a write of it was refused");
    } else if (result && result != -ESTALE) {
        log_warn("the store did not take what was decided: %s", commit->err.text);
    }
    if (result && hours)
        return; /* again when the timer fires; what is planned meanwhile is as good as before */
    if (result)
        conductor_forget(&s->conductor);
    look_soon(s);
}

static void write_step(struct serve *s)
{
    s->changes[0] = election_check(&s->election);
    for (int i = 0; i < s->step.count; i++) {
        const struct conductor_put *p = &s->step.puts[i];
        s->texts[i] = p->value ? json_dumps(p->value, JSON_COMPACT) : NULL;
        s->changes[i + 1] = (struct store_change){.kind = p->value ? STORE_PUT : STORE_DELETE,
                                                  .key = p->key,
                                                  .value = s->texts[i],
                                                  .value_len = s->texts[i] ? strlen(s->texts[i]) : 0,
                                                  .expected = p->expected};
        if (!p->stays && !strncmp(p->key, "/drover/state/", 14))
            s->changes[i + 1].lease = s->election.lease_id; /* it goes with who wrote it */
        log_debug("writes %s", p->key);
    }
    s->commit = (struct store_commit){.changes = s->changes, .count = (uint32_t)s->step.count + 1, .done = committed};
    s->busy = true;
    store_commit(s->store, &s->commit);
}

static void look(struct loop_job *job)
{
    struct serve *s = CONTAINER_OF(job, struct serve, job);
    char wall[TIMESTAMP_BYTES];
    const struct snapshot_time now = {.clock_s = (double)clock_ms() / 1000, .wall_s = time(NULL)};
    if (s->busy || s->ending || !s->follow.current || !election_is_won(&s->election) ||
        s->follow.revision < s->commit.revision)
        return;
    conductor_look(&s->conductor, s->follow.objects, &now, timestamp(wall), &s->step);
    if (s->step.count)
        write_step(s);
}

static void timer_fired(struct loop_timer *timer)
{
    struct serve *s = CONTAINER_OF(timer, struct serve, timer);
    look_soon(s);
    loop_timer_set(s->loop, timer, clock_ns() + LOOK_MS * UINT64_C(1000000));
}

static void followed(struct follow *follow)
{
    struct serve *s = CONTAINER_OF(follow, struct serve, follow);
    const json_t *leader = json_object_get(json_object_get(follow->objects, "balancer"), "leader");
    election_saw(&s->election, follow->current ? leader != NULL : -1);
    look_soon(s);
}

static void elected(struct election *election)
{
    struct serve *s = CONTAINER_OF(election, struct serve, election);
    conductor_begin_term(&s->conductor);
    look_soon(s);
}

/* ---- life ---- */

static void resigned(void *context)
{
    struct serve *s = context;
    s->gone = true;
}

static void life_ended(struct loop_op *op, int result, uint32_t flags)
{
    struct serve *s = CONTAINER_OF(op, struct serve, life);
    (void)flags;
    (void)result; /* nobody writes into it */
    s->ended = true;
    loop_stop(s->loop);
}

static void store_was_closed(void *context)
{
    struct serve *s = context;
    s->closed = true;
}

static const int library_calls[] = {
    SCMP_SYS(poll),     SCMP_SYS(ppoll),   SCMP_SYS(bind),       SCMP_SYS(sendmsg),    SCMP_SYS(sendmmsg),
    SCMP_SYS(recvmsg),  SCMP_SYS(openat),  SCMP_SYS(statx),      SCMP_SYS(stat),       SCMP_SYS(uname),
    SCMP_SYS(eventfd2), SCMP_SYS(pipe2),   SCMP_SYS(clone3),     SCMP_SYS(clone),      SCMP_SYS(socketpair),
    SCMP_SYS(getuid),   SCMP_SYS(geteuid), SCMP_SYS(getgid),     SCMP_SYS(getegid),    SCMP_SYS(sysinfo),
    SCMP_SYS(readlink), SCMP_SYS(access),  SCMP_SYS(readlinkat), SCMP_SYS(faccessat2),
};

/* libcurl and the C library find hosts by name with threads and files that everybody may read. */
static int give_up(struct err *err)
{
    static const struct sandbox_calls library = {.calls = library_calls,
                                                 .call_count = sizeof library_calls / sizeof *library_calls};
    static const struct sandbox_calls *const more[] = {&library, NULL};
    const struct sandbox sandbox = {.connects = true, .keeps_root_directory = true, .more = more};
    return sandbox_enter(&sandbox, err);
}

static int open_all(struct serve *s, struct err *err)
{
    struct tls_client_files files;
    const struct arguments *a = s->arguments;
    store_tls_files(a->state, &files);
    const struct store_options store = {
        .ca_file = files.ca, .cert_file = files.certificate, .key_file = files.key, .files_once = true};
    OPENSSL_init_ssl(0, NULL); /* reads its configuration */
    signal(SIGPIPE, SIG_IGN);
    s->loop = loop_new(err);
    s->store = s->loop ? store_open(a->store, s->loop, access(files.ca, R_OK) ? NULL : &store, err) : NULL;
    s->worker = s->store ? worker_new(s->loop, 1, err) : NULL;
    return s->worker ? give_up(err) : -EIO;
}

static void run(struct serve *s)
{
    s->follow = (struct follow){.loop = s->loop, .store = s->store, .changed = followed};
    s->election = (struct election){.loop = s->loop, .store = s->store, .node = s->arguments->node, .changed = elected};
    s->conductor =
        (struct conductor){.node = s->arguments->node, .stop = search_is_over, .stop_data = s, .hand_over = hand_over};
    s->job.run = look;
    s->timer.fire = timer_fired;
    s->life.done = life_ended;
    if (s->arguments->life >= 0)
        io_uring_prep_read(loop_sqe(s->loop, &s->life), s->arguments->life, &s->life_byte, 1, 0);
    follow_begin(&s->follow);
    election_begin(&s->election);
    timer_fired(&s->timer);
    log_info("follows the cluster's store");
    loop_run(s->loop);
}

static void end(struct serve *s)
{
    s->ending = true;
    s->search_end_ns = 0; /* what is planned is not wanted any more */
    loop_timer_clear(s->loop, &s->timer);
    follow_end(&s->follow);
    election_resign(&s->election, resigned, s);
    while (!s->gone || s->busy || s->planning)
        loop_step(s->loop);
    worker_free(s->worker);
    store_close(s->store, store_was_closed, s);
    while (!s->closed)
        loop_step(s->loop);
    follow_fini(&s->follow);
    conductor_fini(&s->conductor);
    loop_free(s->loop);
}

int main(int argc, char **argv)
{
    static struct serve s;
    struct arguments a = {.state = "/var/lib/drover", .life = -1};
    struct err err = {0};
    const struct argp argp = {.options = options,
                              .parser = parse,
                              .doc =
                                  "The balancer of a running cluster; droverd starts it. One of all nodes' is elected, "
                                  "makes plans and, if the cluster's policy says so, has them carried out."};
    argp_err_exit_status = EXIT_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    s.arguments = &a;
    log_init("drover-balancer", a.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    if (open_all(&s, &err)) {
        log_error("%s", err.text);
        return EXIT_WRONG;
    }
    run(&s);
    log_info("ends");
    end(&s);
    _exit(EXIT_OK); /* nobody may trace us any more, which a search for leaks at exit would have to */
}
