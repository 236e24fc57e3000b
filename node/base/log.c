#include "node/base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "node/base/timestamp.h"
#include "node/base/utf8.h"

enum { LOG_TEXT_MAX = 1024, LOG_LINE_MAX = 2048 };

static const char *log_name = "drover";
static enum log_level log_threshold = LOG_LEVEL_INFO;
static enum { LOG_PLAIN, LOG_JOURNAL, LOG_JSON } log_form;
static const char *const level_names[] = {"error", "warning", "info", "debug"};

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
    const char *form = getenv("DROVER_LOG");
    log_name = name;
    log_threshold = level;
    log_form = form && !strcmp(form, "json") ? LOG_JSON : stderr_is_journal() ? LOG_JOURNAL : LOG_PLAIN;
    if (form && log_form != LOG_JSON && strcmp(form, "text"))
        log_warn("DROVER_LOG is '%s', which is no form of log: text or json", form);
}

/* As a JSON string's inside, as much as there is room for; bytes that are no UTF-8 become '?'. */
static size_t escape(const char *text, char *to, size_t room)
{
    size_t n = 0;
    bool valid = utf8_valid(text, strlen(text));
    const unsigned char *c = (const unsigned char *)text;
    for (; *c && n + 7 < room; c++)
        if (*c == '"' || *c == '\\')
            n += (size_t)snprintf(to + n, room - n, "\\%c", *c);
        else if (*c < 0x20 || *c == 0x7f)
            n += (size_t)snprintf(to + n, room - n, "\\u%04x", *c);
        else
            to[n++] = (char)(*c >= 0x80 && !valid ? '?' : *c);
    while (*c && n && (to[n - 1] & 0x80))
        n--; /* a character that was cut */
    return n;
}

static size_t write_json(char line[LOG_LINE_MAX], enum log_level level, const char *text)
{
    char at[TIMESTAMP_BYTES];
    timestamp(at);
    size_t n = (size_t)snprintf(line, LOG_LINE_MAX, "{\"time\":\"%s\",\"program\":\"%s\",\"level\":\"%s\",\"text\":\"",
                                at, log_name, level_names[level]);
    n += escape(text, line + n, LOG_LINE_MAX - n - 3);
    memcpy(line + n, "\"}\n", 3);
    return n + 3;
}

static size_t write_plain(char line[LOG_LINE_MAX], enum log_level level, const char *text)
{
    static const int priorities[] = {3, 4, 6, 7};
    char at[TIMESTAMP_BYTES];
    timestamp(at);
    int n = log_form == LOG_JOURNAL
                ? snprintf(line, LOG_LINE_MAX, "<%d>%s\n", priorities[level], text)
                : snprintf(line, LOG_LINE_MAX, "%s %s %s: %s\n", at, log_name, level_names[level], text);
    for (int i = 0; i < n - 1; i++)
        if (line[i] == '\n' || line[i] == '\r')
            line[i] = ' '; /* one event, one line: a peer's text cannot forge another */
    return (size_t)n;
}

__attribute__((format(printf, 2, 0))) static void log_write(enum log_level level, const char *format, va_list args)
{
    char text[LOG_TEXT_MAX], line[LOG_LINE_MAX];
    vsnprintf(text, sizeof text, format, args);
    size_t n = log_form == LOG_JSON ? write_json(line, level, text) : write_plain(line, level, text);
    if (write(STDERR_FILENO, line, n) < 0)
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
