#include "node/agent/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/base/err.h"

enum { FILE_MAX = 4096, PERIOD_US = 100000 };

static const char *const v1_names[CGROUP_HIERARCHIES] = {"cpu", "cpuacct", "memory", "pids"};

/* ---- files ---- */

static int read_file(const char *directory, const char *name, char *text)
{
    char path[CGROUP_PATH_MAX * 4];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, text, FILE_MAX - 1);
    int rc = n < 0 ? -errno : 0;
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return rc;
}

static int write_file(const char *directory, const char *name, const char *text, struct err *err)
{
    char path[CGROUP_PATH_MAX * 4];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
    int error = n < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return error ? err_set(err, error, "cannot write '%s' to %s: %s", text, path, strerror(error)) : 0;
}

static bool has_file(const char *directory, const char *name)
{
    char path[CGROUP_PATH_MAX * 4];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return !access(path, F_OK);
}

/* The value of "key value" lines. */
static uint64_t field(const char *text, const char *key)
{
    size_t length = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (!strncmp(line, key, length) && line[length] == ' ')
            return strtoull(line + length + 1, NULL, 10);
    return 0;
}

/* ---- the node's group ---- */

/* v2 gives a group's children only the controllers that it was told to. */
static void delegate(const char *directory)
{
    static const char *const controllers[] = {"+cpu", "+memory", "+pids", "+io"};
    for (unsigned i = 0; i < sizeof controllers / sizeof *controllers; i++)
        write_file(directory, "cgroup.subtree_control", controllers[i], NULL); /* what is missing stays missing */
}

static int make(const char *path, struct err *err)
{
    if (!mkdir(path, 0755) || errno == EEXIST)
        return 0;
    return err_set(err, errno, "cannot make the control group %s: %s", path, strerror(errno));
}

int cgroups_open(struct cgroups *g, const char *mount, const char *node, struct err *err)
{
    *g = (struct cgroups){.unified = has_file(mount, "cgroup.controllers")};
    unsigned count = g->unified ? 1 : CGROUP_HIERARCHIES;
    for (unsigned i = 0; i < count; i++) {
        char hierarchy[CGROUP_PATH_MAX / 2];
        int n = g->unified ? snprintf(hierarchy, sizeof hierarchy, "%s", mount)
                           : snprintf(hierarchy, sizeof hierarchy, "%s/%s", mount, v1_names[i]);
        if (n >= (int)sizeof hierarchy || strlen(node) > CGROUP_PATH_MAX / 2 - 32)
            return err_set(err, ENAMETOOLONG, "control groups: the path of %s is too long", node);
        snprintf(g->path[i], sizeof g->path[i], "%s/drover-%s", hierarchy, node);
        if (g->unified)
            delegate(hierarchy);
        if (make(g->path[i], err))
            return err_set(err, ENOTSUP, "guests run without limits: control groups below %s cannot be made",
                           hierarchy);
        if (g->unified)
            delegate(g->path[i]);
    }
    g->count = count;
    return 0;
}

int cgroups_remove(const struct cgroups *g, struct err *err)
{
    for (unsigned i = 0; i < g->count; i++)
        if (rmdir(g->path[i]) && errno != ENOENT)
            return err_set(err, errno, "cannot remove the control group %s: %s", g->path[i], strerror(errno));
    return 0;
}

/* ---- one group ---- */

static void path_of(const struct cgroups *g, unsigned i, const char *name, char *path)
{
    snprintf(path, CGROUP_PATH_MAX * 2, "%s/%s", g->path[i], name);
}

static int set_v2(const char *path, const struct cgroup_limits *l, struct err *err)
{
    char quota[64], weight[32], memory[32], tasks[32];
    if (l->cpu_percent)
        snprintf(quota, sizeof quota, "%" PRIu64 " %d", (uint64_t)l->cpu_percent * PERIOD_US / 100, PERIOD_US);
    else
        snprintf(quota, sizeof quota, "max %d", PERIOD_US);
    snprintf(weight, sizeof weight, "%u", l->cpu_weight ? l->cpu_weight : 100);
    snprintf(memory, sizeof memory, l->memory_bytes ? "%" PRIu64 : "max", l->memory_bytes);
    snprintf(tasks, sizeof tasks, l->tasks ? "%u" : "max", l->tasks);
    const char *const files[][2] = {
        {"cpu.max", quota}, {"cpu.weight", weight}, {"memory.max", memory}, {"pids.max", tasks}};
    int rc = 0;
    for (unsigned i = 0; !rc && i < 4; i++)
        if (has_file(path, files[i][0]))
            rc = write_file(path, files[i][0], files[i][1], err);
    return rc;
}

static int set_v1(const char *path, unsigned hierarchy, const struct cgroup_limits *l, struct err *err)
{
    char text[32];
    const char *name = v1_names[hierarchy];
    if (!strcmp(name, "cpu")) {
        snprintf(text, sizeof text, "%d", l->cpu_percent ? (int)(l->cpu_percent * (PERIOD_US / 100)) : -1);
        int rc = has_file(path, "cpu.cfs_quota_us") ? write_file(path, "cpu.cfs_quota_us", text, err) : 0;
        /* v1 counts 1024 where v2 has 100 */
        snprintf(text, sizeof text, "%" PRIu64, l->cpu_weight ? ((uint64_t)l->cpu_weight * 1024 + 50) / 100 : 1024);
        return rc ? rc : write_file(path, "cpu.shares", text, err);
    }
    if (!strcmp(name, "memory")) {
        snprintf(text, sizeof text, "%" PRId64, l->memory_bytes ? (int64_t)l->memory_bytes : -1);
        return write_file(path, "memory.limit_in_bytes", text, err);
    }
    if (!strcmp(name, "pids")) {
        snprintf(text, sizeof text, l->tasks ? "%u" : "max", l->tasks);
        return write_file(path, "pids.max", text, err);
    }
    return 0;
}

int cgroup_set(const struct cgroups *g, const char *name, const struct cgroup_limits *limits, struct err *err)
{
    for (unsigned i = 0; i < g->count; i++) {
        char path[CGROUP_PATH_MAX * 2];
        path_of(g, i, name, path);
        int rc = make(path, err);
        if (!rc)
            rc = g->unified ? set_v2(path, limits, err) : set_v1(path, i, limits, err);
        if (rc)
            return rc;
    }
    return 0;
}

int cgroup_add(const struct cgroups *g, const char *name, pid_t pid, struct err *err)
{
    char text[32];
    snprintf(text, sizeof text, "%d", pid);
    for (unsigned i = 0; i < g->count; i++) {
        char path[CGROUP_PATH_MAX * 2];
        path_of(g, i, name, path);
        int rc = write_file(path, "cgroup.procs", text, err);
        if (rc)
            return rc;
    }
    return 0;
}

int cgroup_remove(const struct cgroups *g, const char *name, struct err *err)
{
    for (unsigned i = 0; i < g->count; i++) {
        char path[CGROUP_PATH_MAX * 2];
        path_of(g, i, name, path);
        if (rmdir(path) && errno != ENOENT)
            return err_set(err, errno, "cannot remove the control group %s: %s", path, strerror(errno));
    }
    return 0;
}

/* ---- accounting ---- */

static int hundredths(const char *text, const char *kind)
{
    const char *line = strstr(text, kind), *at = line ? strstr(line, "avg10=") : NULL;
    unsigned whole = 0, part = 0;
    if (!at || sscanf(at, "avg10=%u.%2u", &whole, &part) != 2)
        return -1;
    return (int)(whole * 100 + part);
}

static uint64_t total(const char *text, const char *kind)
{
    const char *line = strstr(text, kind), *at = line ? strstr(line, "total=") : NULL;
    return at ? strtoull(at + sizeof "total=" - 1, NULL, 10) : 0;
}

struct cgroup_pressure cgroup_pressure_parse(const char *text)
{
    return (struct cgroup_pressure){hundredths(text, "some "), hundredths(text, "full "), total(text, "some "),
                                    total(text, "full ")};
}

static struct cgroup_pressure pressure(const char *path, const char *name)
{
    char text[FILE_MAX];
    if (read_file(path, name, text))
        return (struct cgroup_pressure){.some = -1, .full = -1};
    return cgroup_pressure_parse(text);
}

struct cgroup_pressure cgroup_node_pressure(const char *resource)
{
    return pressure("/proc/pressure", resource);
}

static int usage_v2(const char *path, struct cgroup_usage *u)
{
    char text[FILE_MAX];
    int rc = read_file(path, "cpu.stat", text);
    if (rc)
        return rc;
    u->cpu_us = field(text, "usage_usec");
    if (!read_file(path, "memory.current", text))
        u->memory_bytes = strtoull(text, NULL, 10);
    u->cpu = pressure(path, "cpu.pressure");
    u->memory = pressure(path, "memory.pressure");
    u->io = pressure(path, "io.pressure");
    return 0;
}

static int usage_v1(const char *path, unsigned hierarchy, struct cgroup_usage *u)
{
    char text[FILE_MAX];
    int rc = 0;
    if (!strcmp(v1_names[hierarchy], "cpuacct")) {
        rc = read_file(path, "cpuacct.usage", text);
        if (!rc)
            u->cpu_us = strtoull(text, NULL, 10) / 1000;
    } else if (!strcmp(v1_names[hierarchy], "memory")) {
        rc = read_file(path, "memory.usage_in_bytes", text);
        if (!rc)
            u->memory_bytes = strtoull(text, NULL, 10);
    }
    return rc;
}

int cgroup_usage(const struct cgroups *g, const char *name, struct cgroup_usage *usage, struct err *err)
{
    struct cgroup_pressure none = {.some = -1, .full = -1};
    *usage = (struct cgroup_usage){.cpu = none, .memory = none, .io = none};
    for (unsigned i = 0; i < g->count; i++) {
        char path[CGROUP_PATH_MAX * 2];
        path_of(g, i, name, path);
        int rc = g->unified ? usage_v2(path, usage) : usage_v1(path, i, usage);
        if (rc)
            return err_set(err, -rc, "cannot read the control group %s: %s", path, strerror(-rc));
    }
    return 0;
}
