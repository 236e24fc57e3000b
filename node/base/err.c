#include "node/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "node/base/utf8.h"

/* It may have been cut, or tell of something that is no UTF-8: where it is told there would be nothing instead. */
static void make_valid(char *text)
{
    text[utf8_whole(text, strlen(text))] = 0;
    for (char *p = text; *p && !utf8_valid(text, strlen(text)); p++)
        if (*p & 0x80)
            *p = '?';
}

int err_set(struct err *e, int code, const char *format, ...)
{
    if (!e)
        return -code;
    va_list args;
    va_start(args, format);
    e->code = code;
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    make_valid(e->text);
    return -code;
}

int err_prefix(struct err *e, const char *format, ...)
{
    if (!e)
        return -EIO;
    char old[ERR_TEXT_MAX];
    memcpy(old, e->text, sizeof old);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    if (n >= 0 && n < ERR_TEXT_MAX - 3)
        snprintf(e->text + n, sizeof e->text - (size_t)n, ": %.*s", ERR_TEXT_MAX - 3 - n, old);
    make_valid(e->text);
    return -e->code;
}
