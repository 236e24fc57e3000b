/* What is to be said at the end, a sentence a line: as many as there is room for, the others are counted.
 *
 * Threads: one at a time. */
#ifndef BALANCER_SENTENCES_H
#define BALANCER_SENTENCES_H

#include <stdarg.h>
#include <stddef.h>

enum { SENTENCES_BYTES = 4096, SENTENCE_MAX = 1024 };

struct sentences {
    char text[SENTENCES_BYTES];
    size_t used;
    int unsaid; /* for which there was no room */
};

/* A sentence longer than SENTENCE_MAX is cut. */
__attribute__((format(printf, 2, 3))) void sentences_add(struct sentences *sentences, const char *format, ...);
__attribute__((format(printf, 2, 0))) void sentences_add_list(struct sentences *sentences, const char *format,
                                                              va_list list);

#endif
