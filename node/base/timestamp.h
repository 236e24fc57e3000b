/* The time of day as logs, records and answers write it: RFC 3339, UTC, with milliseconds. Threads: any. */
#ifndef NODE_BASE_TIMESTAMP_H
#define NODE_BASE_TIMESTAMP_H

#include <stdio.h>
#include <time.h>

enum { TIMESTAMP_BYTES = 32 };

/* Now: "2026-11-26T08:58:23.125Z". Returns text. */
static inline char *timestamp(char text[TIMESTAMP_BYTES])
{
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(text, TIMESTAMP_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, TIMESTAMP_BYTES - n, ".%03ldZ", now.tv_nsec / 1000000);
    return text;
}

#endif
