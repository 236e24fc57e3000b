#include "node/agent/fault_kill.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "node/agent/fault_config.h"

enum { ROUNDS_MAX = 100, ROUND_US = 10000 };

static unsigned signal_all(const char *directory, int signal)
{
    char path[PATH_MAX];
    unsigned count = 0;
    long pid;
    snprintf(path, sizeof path, "%s/cgroup.procs", directory);
    FILE *f = fopen(path, "re");
    while (f && fscanf(f, "%ld", &pid) == 1)
        if (pid > 1 && pid != getpid() && !kill((pid_t)pid, signal))
            count++;
    if (f)
        fclose(f);
    return count;
}

unsigned fault_kill_group(const struct fault_config *c, const char *group, int signal)
{
    char path[PATH_MAX];
    unsigned count = 0;
    size_t i;
    json_t *text;
    json_array_foreach (json_object_get(c->json, "groups"), i, text) {
        snprintf(path, sizeof path, "%s/%s", json_string_value(text), group);
        unsigned n = signal_all(path, signal);
        count = n > count ? n : count; /* the same processes in each hierarchy */
    }
    return count;
}

/* All groups of the node but the one we are in. */
static unsigned kill_groups(const struct fault_config *c)
{
    unsigned count = 0;
    size_t i;
    json_t *text;
    json_array_foreach (json_object_get(c->json, "groups"), i, text) {
        char path[PATH_MAX];
        const char *top = json_string_value(text);
        DIR *d = opendir(top);
        const struct dirent *e;
        while (d && (e = readdir(d))) {
            if (e->d_type != DT_DIR || e->d_name[0] == '.' || !strcmp(e->d_name, FAULT_GROUP))
                continue;
            snprintf(path, sizeof path, "%s/%s", top, e->d_name);
            count += signal_all(path, SIGKILL);
        }
        if (d)
            closedir(d);
    }
    return count;
}

/* Who still is there, of which session's parent: what the agent started without a group (an import, a copy). */
static unsigned kill_children(pid_t parent)
{
    DIR *d = opendir("/proc");
    const struct dirent *e;
    unsigned count = 0;
    while (d && (e = readdir(d))) {
        char path[PATH_MAX], text[512];
        pid_t pid = (pid_t)atoi(e->d_name);
        if (pid <= 1 || pid == getpid())
            continue;
        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        FILE *f = fopen(path, "re");
        size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
        if (f)
            fclose(f);
        text[n] = 0;
        const char *at = strrchr(text, ')');
        int of = 0;
        if (at && sscanf(at, ") %*c %d", &of) == 1 && of == parent && !kill(pid, SIGKILL))
            count++;
    }
    if (d)
        closedir(d);
    return count;
}

void fault_kill_agent(const struct fault_config *c)
{
    kill(c->agent, SIGKILL);
}

void fault_kill_node(const struct fault_config *c)
{
    kill(c->agent, SIGSTOP); /* or it would start again what is killed meanwhile */
    kill_children(c->agent);
    kill(c->agent, SIGKILL);
    for (unsigned i = 0; i < ROUNDS_MAX && kill_groups(c); i++)
        usleep(ROUND_US);
}
