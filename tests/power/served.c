#include "tests/power/served.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/power/client.h"

enum { PATIENCE_MS = 60000, POLL_MS = 5, LOG_MAX_BYTES = 16384 };

static void wait_a_little(void)
{
    nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
}

static size_t read_log(const struct served *served, char *text)
{
    int fd = open(served->log_path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, LOG_MAX_BYTES - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

static void tell_log(const struct served *served)
{
    char text[LOG_MAX_BYTES];
    read_log(served, text);
    fprintf(stderr, "the server said:\n%s", text);
}

/* Only what may be called between fork and exec of a process with threads. */
static void become_server(const struct served *served, char *const *argv, char *const *environment)
{
    int log = open(served->log_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(log, STDERR_FILENO);
    fexecve(served->program_fd, argv, environment);
    _exit(127);
}

static int spawn(struct served *served)
{
    char listen[256];
    snprintf(listen, sizeof listen, "unix:%s", served->socket_path);
    char *argv[] = {strdup("drover-nbd"), strdup("--listen"), strdup(listen), strdup(served->stack), NULL};
    char leaks[] = "ASAN_OPTIONS=detect_leaks=0:abort_on_error=1"; /* sealed, it cannot look for leaks */
    char *environment[] = {leaks, NULL};
    unlink(served->socket_path);
    pid_t pid = fork();
    if (pid == 0)
        become_server(served, argv, environment);
    for (char **arg = argv; *arg; arg++)
        free(*arg);
    if (pid < 0)
        return -errno;
    served->pid = pid;
    return 0;
}

static bool image_is_claimed(const struct served *served)
{
    char text[LOG_MAX_BYTES];
    read_log(served, text);
    return strstr(text, "in use by another");
}

/* 0: connected; -EAGAIN: ended, the image being claimed; else it will not come up. */
static int connect_first(struct served *served, struct client *first, int *patience_ms)
{
    for (; *patience_ms > 0; *patience_ms -= POLL_MS) {
        int rc = client_connect(first, served->socket_path);
        if (!rc || (rc != -ENOENT && rc != -ECONNREFUSED && rc != -EPIPE && rc != -ECONNRESET))
            return rc;
        if (waitpid(served->pid, NULL, WNOHANG) == served->pid) {
            served->pid = 0;
            return image_is_claimed(served) ? -EAGAIN : -ECHILD;
        }
        wait_a_little();
    }
    return -ETIMEDOUT;
}

int served_start(struct served *served, struct client *first)
{
    int patience_ms = PATIENCE_MS, rc;
    do {
        rc = spawn(served);
        if (!rc)
            rc = connect_first(served, first, &patience_ms);
        wait_a_little();
        patience_ms -= POLL_MS;
    } while (rc == -EAGAIN);
    if (rc)
        tell_log(served);
    return rc;
}

void served_kill(struct served *served)
{
    if (!served->pid)
        return;
    kill(served->pid, SIGKILL);
    waitpid(served->pid, NULL, 0);
    served->pid = 0;
}

int served_stop(struct served *served)
{
    int status = 0, patience_ms = PATIENCE_MS;
    if (!served->pid)
        return -1;
    kill(served->pid, SIGTERM);
    while (waitpid(served->pid, &status, WNOHANG) == 0 && patience_ms > 0) {
        wait_a_little();
        patience_ms -= POLL_MS;
    }
    if (patience_ms > 0)
        served->pid = 0;
    served_kill(served);
    int result = patience_ms > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (result)
        tell_log(served);
    return result;
}
