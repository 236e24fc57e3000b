#include "balancer/text_line.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool text_line_next(struct text_field *rest, struct text_field *line)
{
    if (!rest->len)
        return false;
    const char *end = memchr(rest->at, '\n', rest->len);
    size_t len = end ? (size_t)(end - rest->at) : rest->len;
    *line = (struct text_field){rest->at, len};
    size_t used = end ? len + 1 : len;
    rest->at += used;
    rest->len -= used;
    return true;
}

int text_line_cut(struct text_field line, char mark, struct text_field *pieces, int max)
{
    int count = 0;
    for (;;) {
        const char *end = line.len ? memchr(line.at, mark, line.len) : NULL;
        size_t len = end ? (size_t)(end - line.at) : line.len;
        if (count < max)
            pieces[count] = (struct text_field){line.at, len};
        count++;
        if (!end)
            return count;
        line.at += len + 1;
        line.len -= len + 1;
    }
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

int text_line_words(struct text_field line, struct text_field *words, int max)
{
    int count = 0;
    size_t i = 0;
    while (i < line.len) {
        while (i < line.len && is_blank(line.at[i]))
            i++;
        size_t from = i;
        while (i < line.len && !is_blank(line.at[i]))
            i++;
        if (i == from)
            break;
        if (count < max)
            words[count] = (struct text_field){line.at + from, i - from};
        count++;
    }
    return count;
}

bool text_field_is(struct text_field field, const char *text)
{
    return field.len == strlen(text) && !memcmp(field.at, text, field.len);
}

bool text_field_starts(struct text_field field, const char *text)
{
    return field.len >= strlen(text) && !memcmp(field.at, text, strlen(text));
}

bool text_field_number(struct text_field field, double min, double max, double *number)
{
    char copy[64];
    if (!field.len || field.len >= sizeof copy || memchr(field.at, 0, field.len) || is_blank(field.at[0]))
        return false;
    memcpy(copy, field.at, field.len);
    copy[field.len] = 0;
    char *end;
    double value = strtod(copy, &end);
    if (*end || !isfinite(value) || value < min || value > max)
        return false;
    *number = value;
    return true;
}
