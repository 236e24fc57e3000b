/* An open-addressed hash over FNV-1a, never more than half full. */
#include "balancer/names.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_SLOTS = 64 };

void names_init(struct names *names, int limit)
{
    *names = (struct names){.limit = limit};
}

void names_fini(struct names *names)
{
    for (int i = 0; i < names->count; i++)
        free(names->text[i]);
    free(names->text);
    free(names->slots);
    *names = (struct names){0};
}

static uint64_t hash_of(const char *text, size_t len)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
    return h ^ h >> 29;
}

/* Where these bytes are, or would be. */
static int slot_of(const struct names *names, const char *text, size_t len)
{
    int mask = names->slot_count - 1;
    int at = (int)(hash_of(text, len) & (uint64_t)mask);
    for (; names->slots[at]; at = (at + 1) & mask) {
        const char *there = names->text[names->slots[at] - 1];
        if (strlen(there) == len && !memcmp(there, text, len))
            break;
    }
    return at;
}

static int grow(struct names *names)
{
    int slot_count = names->slot_count ? names->slot_count * 2 : FIRST_SLOTS;
    char **text = realloc(names->text, (size_t)slot_count / 2 * sizeof *text);
    if (!text)
        return -1;
    names->text = text;
    int *slots = calloc((size_t)slot_count, sizeof *slots);
    if (!slots)
        return -1;
    free(names->slots);
    names->slots = slots;
    names->slot_count = slot_count;
    for (int i = 0; i < names->count; i++)
        slots[slot_of(names, names->text[i], strlen(names->text[i]))] = i + 1;
    return 0;
}

int names_find(const struct names *names, const char *text, size_t len)
{
    return names->slot_count ? names->slots[slot_of(names, text, len)] - 1 : -1;
}

int names_find_member(const struct names *names, const json_t *object, const char *key)
{
    const char *name = json_string_value(json_object_get(object, key));
    return name ? names_find(names, name, strlen(name)) : -1;
}

int names_intern(struct names *names, const char *text, size_t len)
{
    int known = names_find(names, text, len);
    if (known >= 0)
        return known;
    if (memchr(text, 0, len)) /* a name ends at its first 0: this one would never be found again */
        return -1;
    if (names->count >= names->limit || (names->count * 2 >= names->slot_count && grow(names) < 0))
        return -1;
    char *copy = strndup(text, len);
    if (!copy)
        return -1;
    names->text[names->count] = copy;
    names->slots[slot_of(names, text, len)] = names->count + 1;
    return names->count++;
}
