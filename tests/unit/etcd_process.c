#include "tests/unit/etcd_process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* Below the ports that the kernel gives to whoever connects: one of those may take a server's while it is down. */
enum { PORT_FIRST = 10000, PORT_COUNT = 20000 };

int etcd_free_port(void)
{
    for (;;) {
        uint16_t dice;
        assert_int_equal(getrandom(&dice, sizeof dice, 0), sizeof dice);
        struct sockaddr_in a = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)(PORT_FIRST + dice % PORT_COUNT)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        int rc = bind(fd, (struct sockaddr *)&a, sizeof a);
        close(fd);
        if (!rc)
            return ntohs(a.sin_port);
        assert_int_equal(errno, EADDRINUSE);
    }
}

static void make_certificates(const char *path)
{
    char command[4096];
    snprintf(
        command, sizeof command,
        "cd '%s' && exec >openssl.log 2>&1 && new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes' && "
        "$new -x509 -keyout ca.key -out ca.pem -days 2 -subj /CN=authority && "
        "for n in server client; do $new -keyout $n.key -out $n.csr -subj /CN=$n && "
        "printf 'subjectAltName=IP:127.0.0.1,DNS:localhost' >ext && openssl x509 -req -in $n.csr -CA ca.pem -CAkey "
        "ca.key -CAcreateserial -days 2 -extfile ext -out $n.pem || exit 1; done",
        path);
    assert_int_equal(system(command), 0);
}

static void member_name(char *name, size_t size, int member)
{
    snprintf(name, size, "m%d", member);
}

static void run_etcd(const struct etcd_cluster *c, int member)
{
    const struct etcd_process *m = &c->members[member];
    const char *scheme = c->tls ? "https" : "http";
    char name[16], data[600], client[64], peer[64], peers[256] = "", log[600], cert[600], key[600], ca[600];
    member_name(name, sizeof name, member);
    snprintf(data, sizeof data, "%s/%s", c->path, name);
    snprintf(log, sizeof log, "%s/%s.log", c->path, name);
    snprintf(client, sizeof client, "%s://127.0.0.1:%d", scheme, m->client_port);
    snprintf(peer, sizeof peer, "http://127.0.0.1:%d", m->peer_port);
    for (int i = 0; i < c->count; i++)
        snprintf(peers + strlen(peers), sizeof peers - strlen(peers), "%sm%d=http://127.0.0.1:%d", i ? "," : "", i,
                 c->members[i].peer_port);
    snprintf(cert, sizeof cert, "%s/server.pem", c->path);
    snprintf(key, sizeof key, "%s/server.key", c->path);
    snprintf(ca, sizeof ca, "%s/ca.pem", c->path);
    const char *args[40] = {"etcd", "--name",
                            name,   "--data-dir",
                            data,   "--listen-client-urls",
                            client, "--advertise-client-urls",
                            client, "--listen-peer-urls",
                            peer,   "--initial-advertise-peer-urls",
                            peer,   "--initial-cluster",
                            peers,  "--heartbeat-interval",
                            "100",  "--election-timeout",
                            "500"};
    int n = 0;
    while (args[n])
        n++;
    if (c->tls) {
        const char *tls[] = {"--cert-file", cert, "--key-file", key, "--client-cert-auth", "--trusted-ca-file", ca};
        memcpy(args + n, tls, sizeof tls);
    }
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    setenv("ETCD_UNSUPPORTED_ARCH", "arm64", 0);
    execvp("etcd", (char *const *)(uintptr_t)args);
    _exit(127);
}

void etcd_member_start(struct etcd_cluster *c, int member)
{
    struct etcd_process *m = &c->members[member];
    pid_t parent = getpid();
    assert_int_equal(m->pid, 0);
    m->pid = fork();
    assert_true(m->pid >= 0);
    if (!m->pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            run_etcd(c, member);
        _exit(127);
    }
}

void etcd_member_kill(struct etcd_cluster *c, int member)
{
    struct etcd_process *m = &c->members[member];
    if (!m->pid)
        return;
    kill(m->pid, SIGKILL);
    waitpid(m->pid, NULL, 0);
    m->pid = 0;
}

static const struct etcd_cluster *started; /* the newest */

void etcd_expect_running(void)
{
    const struct etcd_cluster *c = started;
    siginfo_t ended = {0};
    for (int i = 0; c && i < c->count; i++)
        if (c->members[i].pid && !waitid(P_PID, (id_t)c->members[i].pid, &ended, WEXITED | WNOHANG | WNOWAIT) &&
            ended.si_pid) {
            char command[600];
            snprintf(command, sizeof command, "tail -n 3 '%s/m%d.log' >&2", c->path, i);
            int said = system(command);
            fail_msg("etcd ended by itself (status %d; its last words, %d, are above)", ended.si_status, said);
        }
}

void etcd_cluster_start(struct etcd_cluster *c, const char *path, int count, bool tls)
{
    *c = (struct etcd_cluster){.count = count, .tls = tls};
    started = c;
    snprintf(c->path, sizeof c->path, "%s", path);
    if (tls)
        make_certificates(path);
    for (int i = 0; i < count; i++) {
        c->members[i].client_port = etcd_free_port();
        c->members[i].peer_port = etcd_free_port();
    }
    for (int i = 0; i < count; i++)
        etcd_member_start(c, i);
}

void etcd_cluster_stop(struct etcd_cluster *c)
{
    for (int i = 0; i < c->count; i++)
        etcd_member_kill(c, i);
}

void etcd_cluster_uri(const struct etcd_cluster *c, char *uri, size_t size)
{
    int n = snprintf(uri, size, "etcd:%s://", c->tls ? "https" : "http");
    for (int i = 0; i < c->count; i++)
        n += snprintf(uri + n, size - (size_t)n, "%s127.0.0.1:%d", i ? "," : "", c->members[i].client_port);
}
