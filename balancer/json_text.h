/* JSON files of people: values with their kinds and ranges checked, and every error with file, line, field and reason.
 *
 * A parsed value does not know its line, so an error looks for the keys on the way to it, one after the other, in the
 * text. Threads: any. */
#ifndef BALANCER_JSON_TEXT_H
#define BALANCER_JSON_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct err;

enum { JSON_TEXT_DEPTH = 4 };

struct json_text {
    const char *name, *text;
    size_t len;
    const char *path[JSON_TEXT_DEPTH]; /* names on the way to the object that is read */
    int depth;
    struct err *err;
};

/* A new reference to an object, NULL with a sentence: not JSON, or not an object, or a key twice. */
json_t *json_text_parse(const struct json_text *text);

/* -EINVAL with "FILE:LINE: PATH.key: " and the rest; there is no line where there is no text. */
__attribute__((format(printf, 3, 4))) int json_text_refuse(const struct json_text *text, const char *key,
                                                           const char *format, ...);

/* Each: 0 and *to as it was if the key is not there; a value of another kind or out of range is refused. */
int json_text_number(const struct json_text *text, json_t *object, const char *key, double min, double max, double *to);
int json_text_bool(const struct json_text *text, json_t *object, const char *key, bool *to);
int json_text_string(const struct json_text *text, json_t *object, const char *key, const char **to);
/* Seconds as a number, or "30m". */
int json_text_duration(const struct json_text *text, json_t *object, const char *key, double *to);
/* Bytes as a number, or "16G"; *to is in MiB if mib is said. */
int json_text_size(const struct json_text *text, json_t *object, const char *key, bool mib, double *to);
/* Refuses a key that is not in the list (ended by NULL). */
int json_text_known(const struct json_text *text, json_t *object, const char *const *keys);

#endif
