/* The log: one line per event on standard error. Under systemd (JOURNAL_STREAM names our stderr) a line starts with its
 * syslog priority, <3> to <7>, elsewhere with the time and the level; with DROVER_LOG=json it is an object:
 *
 *     {"time":"2026-11-26T08:58:23.125Z","program":"droverd","level":"info","text":"..."}
 *
 * A source of log lines that a hostile peer can trigger carries a
 * log_limit, so that nobody can fill the disk. Never log a secret. Threads: any. */
#ifndef NODE_BASE_LOG_H
#define NODE_BASE_LOG_H

#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* At most `burst` lines in any `interval_ms`; what was left out is counted and said with the next line. */
struct log_limit {
    uint32_t burst, interval_ms;
    uint64_t window_ms;
    uint32_t used, dropped;
};

/* name stands in front of every line ("drover-nbd"); must stay valid, and needs no escape. */
void log_init(const char *name, enum log_level level);

__attribute__((format(printf, 2, 3))) void log_line(enum log_level level, const char *format, ...);
__attribute__((format(printf, 3, 4))) void log_limited(struct log_limit *limit, enum log_level level,
                                                       const char *format, ...);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
