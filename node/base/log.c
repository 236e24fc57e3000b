#include "node/base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LINE_MAX = 1024 };

static const char *log_name = "drover";
static enum log_level log_threshold = LOG_LEVEL_INFO;
static bool log_to_journal;

static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    unsigned long long dev, ino;
    if (!stream || sscanf(stream, "%llu:%llu", &dev, &ino) != 2 || fstat(STDERR_FILENO, &st) < 0)
        return false;
    return st.st_dev == dev && st.st_ino == ino;
}

void log_init(const char *name, enum log_level level)
{
    log_name = name;
    log_threshold = level;
    log_to_journal = stderr_is_journal();
}

__attribute__((format(printf, 2, 0))) static void log_write(enum log_level level, const char *format, va_list args)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    static const int priorities[] = {3, 4, 6, 7};
    char line[LOG_LINE_MAX];
    int n;
    if (log_to_journal) {
        n = snprintf(line, sizeof line, "<%d>", priorities[level]);
    } else {
        struct timespec ts;
        struct tm tm;
        clock_gettime(CLOCK_REALTIME, &ts);
        gmtime_r(&ts.tv_sec, &tm);
        n = (int)strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
        n += snprintf(line + n, sizeof line - (size_t)n, ".%03ldZ %s %s: ", ts.tv_nsec / 1000000, log_name,
                      names[level]);
    }
    n += vsnprintf(line + n, sizeof line - (size_t)n - 1, format, args);
    if (n > LOG_LINE_MAX - 2)
        n = LOG_LINE_MAX - 2;
    for (int i = 0; i < n; i++)
        if (line[i] == '\n' || line[i] == '\r')
            line[i] = ' '; /* one event, one line: a peer's text cannot forge another */
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        return; /* nobody left to tell */
}

void log_line(enum log_level level, const char *format, ...)
{
    if (level > log_threshold)
        return;
    va_list args;
    va_start(args, format);
    log_write(level, format, args);
    va_end(args);
}

void log_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
{
    if (level > log_threshold)
        return;
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    uint64_t now_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
    if (now_ms - limit->window_ms >= limit->interval_ms) {
        limit->window_ms = now_ms;
        limit->used = 0;
        if (limit->dropped) {
            log_line(level, "%u similar lines left out", limit->dropped);
            limit->dropped = 0;
        }
    }
    if (limit->used >= limit->burst) {
        limit->dropped++;
        return;
    }
    limit->used++;
    va_list args;
    va_start(args, format);
    log_write(level, format, args);
    va_end(args);
}
