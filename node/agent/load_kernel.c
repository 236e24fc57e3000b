/* See load_kernel.h. One read of /proc/net/dev tells of all taps; asking the kernel for each would be a call a guest
 * and network. */
#include "node/agent/load_kernel.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 512, PATH_BYTES = 128 };

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct load_tap *)a)->name, ((const struct load_tap *)b)->name);
}

/* "  eth0: RECEIVED-BYTES ... (8 numbers) SENT-BYTES ..." */
static bool parse_line(const char *line, struct load_tap *tap)
{
    const char *colon = strchr(line, ':');
    uint64_t received, sent;
    line += strspn(line, " ");
    if (!colon || colon - line <= 0 || colon - line >= TAP_NAME_MAX)
        return false;
    if (sscanf(colon + 1, "%" SCNu64 " %*u %*u %*u %*u %*u %*u %*u %" SCNu64, &received, &sent) != 2)
        return false;
    memcpy(tap->name, line, (size_t)(colon - line));
    tap->name[colon - line] = 0;
    tap->bytes = received + sent;
    return true;
}

static bool prepare(struct load_taps *t)
{
    if (!t->taps)
        t->taps = calloc(LOAD_TAPS_MAX, sizeof *t->taps);
    t->count = 0;
    return t->taps != NULL;
}

static void add(struct load_taps *t, const char *line)
{
    if (t->count < LOAD_TAPS_MAX && parse_line(line, &t->taps[t->count]))
        t->count++;
}

static void sort(struct load_taps *t)
{
    qsort(t->taps, t->count, sizeof *t->taps, by_name);
}

void load_taps_read(struct load_taps *t)
{
    char line[LINE_MAX_BYTES];
    FILE *file = prepare(t) ? fopen("/proc/net/dev", "re") : NULL;
    while (file && fgets(line, sizeof line, file))
        add(t, line);
    if (file)
        fclose(file);
    if (t->taps)
        sort(t);
}

void load_taps_parse(struct load_taps *t, const char *text)
{
    char line[LINE_MAX_BYTES];
    if (!prepare(t))
        return;
    for (size_t n; *text; text += n + (text[n] == '\n')) {
        n = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)(n < LINE_MAX_BYTES ? n : LINE_MAX_BYTES - 1), text);
        add(t, line);
    }
    sort(t);
}

uint64_t load_taps_bytes(const struct load_taps *t, const char *name)
{
    struct load_tap key = {.bytes = 0};
    if (!t->count)
        return 0;
    snprintf(key.name, sizeof key.name, "%s", name);
    const struct load_tap *found = bsearch(&key, t->taps, t->count, sizeof key, by_name);
    return found ? found->bytes : 0;
}

void load_taps_fini(struct load_taps *t)
{
    free(t->taps);
    *t = (struct load_taps){0};
}

/* ---- run delay ---- */

static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* "RUNNING-NS DELAY-NS SLICES" of one thread. */
static uint64_t delay_of(const char *folder, const char *task)
{
    char path[PATH_BYTES * 2], text[LINE_MAX_BYTES];
    uint64_t delay = 0;
    snprintf(path, sizeof path, "%s/%.16s/comm", folder, task);
    if (!read_text(path, text, sizeof text) || strncmp(text, "vcpu", 4))
        return 0;
    snprintf(path, sizeof path, "%s/%.16s/schedstat", folder, task);
    if (!read_text(path, text, sizeof text) || sscanf(text, "%*u %" SCNu64, &delay) != 1)
        return 0;
    return delay;
}

uint64_t load_run_delay_ns(const char *proc, pid_t pid)
{
    char folder[PATH_BYTES];
    uint64_t sum = 0;
    unsigned looked = 0;
    snprintf(folder, sizeof folder, "%.64s/%d/task", proc, (int)pid);
    DIR *tasks = pid > 0 ? opendir(folder) : NULL;
    for (struct dirent *e; tasks && looked < LOAD_TASKS_MAX && (e = readdir(tasks)) != NULL;)
        if (e->d_name[0] != '.') {
            sum += delay_of(folder, e->d_name);
            looked++;
        }
    if (tasks)
        closedir(tasks);
    return sum;
}
