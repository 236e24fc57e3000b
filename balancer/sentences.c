#include "balancer/sentences.h"

#include <stdio.h>
#include <string.h>

void sentences_add_list(struct sentences *s, const char *format, va_list list)
{
    char line[SENTENCE_MAX];
    int n = vsnprintf(line, sizeof line, format, list);
    size_t len = n < 0 ? 0 : n < SENTENCE_MAX ? (size_t)n : SENTENCE_MAX - 1;
    if (s->unsaid || s->used + len + 2 > sizeof s->text) {
        s->unsaid++;
        return;
    }
    memcpy(s->text + s->used, line, len);
    memcpy(s->text + s->used + len, "\n", 2);
    s->used += len + 1;
}

void sentences_add(struct sentences *s, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    sentences_add_list(s, format, list);
    va_end(list);
}
