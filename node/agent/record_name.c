#include "node/agent/record_name.h"

#include <stdio.h>

enum { SUFFIX_LETTERS = 6 };

void record_name(const char *began, const char *id, char name[RECORD_NAME_BYTES])
{
    unsigned n = 0;
    for (const char *c = began; *c && *c != 'Z'; c++)
        if (*c >= '0' && *c <= '9')
            name[n++] = *c;
        else if (*c == 'T')
            name[n++] = '-';
    snprintf(name + n, RECORD_NAME_BYTES - n, "-%.*s", SUFFIX_LETTERS, id);
}
