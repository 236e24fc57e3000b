#include "node/agent/drill_condition.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 32 };

static const struct {
    const char *name;
    bool is_duration;
} measures[DRILL_MEASURE_COUNT] = {
    [DRILL_GUESTS_DOWN] = {"guests-down", false}, [DRILL_OTHERS_DOWN] = {"others-down", false},
    [DRILL_NODES_AWAY] = {"nodes-away", false},   [DRILL_VOLUMES_SUSPENDED] = {"volumes-suspended", false},
    [DRILL_LOST_WRITES] = {"lost-writes", false}, [DRILL_DOWN_MS] = {"down", true},
    [DRILL_SILENT_MS] = {"silent", true},
};

static const char *skip(const char *at)
{
    return at + strspn(at, " \t");
}

static const char *word(const char *at, const char *letters, char *to)
{
    size_t n = strspn(at, letters);
    snprintf(to, WORD_MAX, "%.*s", (int)(n < WORD_MAX ? n : 0), at);
    return skip(at + n);
}

/* Milliseconds or a number; false: neither. */
static bool amount(const char *text, bool is_duration, uint64_t *value)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}};
    char *end;
    if (*text < '0' || *text > '9' || strspn(text, "0123456789") > 9)
        return false;
    *value = strtoull(text, &end, 10);
    if (!is_duration)
        return !*end;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(end, units[i].unit)) {
            *value *= units[i].ms;
            return true;
        }
    return false;
}

static int wrong(char *why, int room, const char *what, const char *text)
{
    snprintf(why, (size_t)room,
             "'%.60s': %s; write for example 'others-down > 0 or silent > 20s' (guests-down, others-down, nodes-away, "
             "volumes-suspended, lost-writes, down, silent)",
             text, what);
    return -EINVAL;
}

int drill_condition_parse(const char *text, struct drill_condition *c, char *why, int room)
{
    const char *at = skip(text);
    char name[WORD_MAX], sign[WORD_MAX], value[WORD_MAX], joint[WORD_MAX];
    *c = (struct drill_condition){.count = 0};
    while (*at) {
        struct drill_term *t = &c->terms[c->count];
        int m = 0;
        if (c->count == DRILL_TERMS_MAX)
            return wrong(why, room, "too many parts", text);
        at = word(at, "abcdefghijklmnopqrstuvwxyz-", name);
        at = word(at, ">=<!", sign);
        at = word(at, "0123456789abcdefghijklmnopqrstuvwxyz", value);
        at = word(at, "abcdefghijklmnopqrstuvwxyz", joint);
        while (m < DRILL_MEASURE_COUNT && strcmp(measures[m].name, name))
            m++;
        if (m == DRILL_MEASURE_COUNT)
            return wrong(why, room, "there is nothing of that name to be measured", *name ? name : text);
        if (strcmp(sign, ">") && strcmp(sign, ">="))
            return wrong(why, room, "a measure is compared by > or >=", text);
        if (!amount(value, measures[m].is_duration, &t->at_least))
            return wrong(why, room, measures[m].is_duration ? "it needs a duration" : "it needs a number", text);
        if (strcmp(joint, *at ? "or" : ""))
            return wrong(why, room, "parts are joined by 'or'", text);
        t->measure = (enum drill_measure)m;
        t->at_least += !strcmp(sign, ">");
        c->count++;
    }
    return 0;
}

bool drill_condition_holds(const struct drill_condition *c, const uint64_t values[DRILL_MEASURE_COUNT], char *text,
                           int room)
{
    for (unsigned i = 0; i < c->count; i++) {
        const struct drill_term *t = &c->terms[i];
        uint64_t value = values[t->measure];
        if (value < t->at_least)
            continue;
        snprintf(text, (size_t)room, "%s is %" PRIu64 "%s", measures[t->measure].name, value,
                 measures[t->measure].is_duration ? " ms" : "");
        return true;
    }
    return false;
}
