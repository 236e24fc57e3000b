/* See trace.h. */
#include "hv/trace.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"
#include "node/base/log.h"

enum { LINE_BYTES = 400, LINES = 4000, INTERVAL_MS = 1000, KEYS_MAX = 512 };

uint8_t trace_levels[TRACE_CATEGORIES];

static const char *const names[TRACE_CATEGORIES] = {
    [TRACE_BOOT] = "boot", [TRACE_BUS] = "bus", [TRACE_CONTROL] = "control", [TRACE_GDB] = "gdb",
    [TRACE_IRQ] = "irq",   [TRACE_PCI] = "pci", [TRACE_VCPU] = "vcpu",       [TRACE_VIRTIO] = "virtio",
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static struct log_limit limits[TRACE_CATEGORIES];
static struct {
    unsigned count;
    uint64_t keys[KEYS_MAX];
} seen[TRACE_CATEGORIES];

/* ---- choosing ---- */

static int unknown(const char *what, struct err *err)
{
    char list[128] = "all";
    for (unsigned i = 0; i < TRACE_CATEGORIES; i++) {
        size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, ", %s", names[i]);
    }
    return err_set(err, EINVAL, "'%s': write CATEGORY[=debug|trace],... with categories of: %s", what, list);
}

static int choose_one(char *text, struct err *err)
{
    char *level = strchr(text, '=');
    bool known = false;
    if (level)
        *level++ = 0;
    if (level && strcmp(level, "debug") != 0 && strcmp(level, "trace") != 0)
        return unknown(level, err);
    bool everything = level && strcmp(level, "trace") == 0;
    for (unsigned i = 0; i < TRACE_CATEGORIES; i++)
        if (strcmp(text, names[i]) == 0 || strcmp(text, "all") == 0) {
            trace_levels[i] = everything ? TRACE_EVERYTHING : TRACE_DEBUG;
            known = true;
        }
    return known ? 0 : unknown(text, err);
}

int trace_choose(const char *text, struct err *err)
{
    char *copy = strdup(text), *rest = copy, *part;
    int rc = copy ? 0 : err_set(err, ENOMEM, "no memory");
    while (!rc && (part = strsep(&rest, ",")))
        rc = choose_one(part, err);
    free(copy);
    return rc;
}

/* ---- saying ---- */

__attribute__((format(printf, 2, 0))) static void say(enum trace_category category, const char *format, va_list args)
{
    char line[LINE_BYTES];
    struct log_limit *limit = &limits[category];
    vsnprintf(line, sizeof line, format, args);
    limit->burst = LINES;
    limit->interval_ms = INTERVAL_MS;
    log_limited(limit, LOG_LEVEL_INFO, "%s: %s", names[category], line);
}

void trace_line(enum trace_category category, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&lock);
    say(category, format, args);
    pthread_mutex_unlock(&lock);
    va_end(args);
}

/* With the lock. False: said before, or there are too many to remember. */
static bool is_new(enum trace_category category, uint64_t key)
{
    for (unsigned i = 0; i < seen[category].count; i++)
        if (seen[category].keys[i] == key)
            return false;
    if (seen[category].count == KEYS_MAX)
        return false;
    seen[category].keys[seen[category].count++] = key;
    return true;
}

void trace_line_once(enum trace_category category, uint64_t key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&lock);
    if (is_new(category, key))
        say(category, format, args);
    pthread_mutex_unlock(&lock);
    va_end(args);
}
