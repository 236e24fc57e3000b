#include "node/agent/service.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/log.h"

void service_say(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || strlen(path) >= sizeof address.sun_path)
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memcpy(address.sun_path, path, strlen(path));
    if (address.sun_path[0] == '@')
        address.sun_path[0] = 0;
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (fd < 0 || sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&address, len) < 0)
        log_warn("the service manager cannot be told '%s': %s", text, strerror(errno));
    if (fd >= 0)
        close(fd);
}

static void alive(struct loop_timer *timer)
{
    struct service_watch *w = CONTAINER_OF(timer, struct service_watch, timer);
    service_say("WATCHDOG=1");
    loop_timer_set(w->loop, timer, clock_ns() + w->every_ns);
}

void service_watch_begin(struct service_watch *w, struct loop *loop)
{
    const char *time = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    bool ours = time && (!pid || strtol(pid, NULL, 10) == getpid());
    *w = (struct service_watch){.loop = loop, .timer.fire = alive};
    w->every_ns = ours ? strtoull(time, NULL, 10) * 1000 / 2 : 0;
    if (w->every_ns)
        loop_timer_set(loop, &w->timer, clock_ns());
}

void service_watch_end(struct service_watch *w)
{
    if (w->loop)
        loop_timer_clear(w->loop, &w->timer);
}
