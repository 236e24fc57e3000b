#include "node/agent/power_turn.h"

#include <string.h>
#include <strings.h>

bool power_turn(const bool *alive, int count, int node, int self)
{
    int asked = 0;
    for (int step = 1; step < count && asked < POWER_ASKERS; step++) {
        int i = (node + step) % count;
        if (!alive[i])
            continue;
        if (i == self)
            return true;
        asked++;
    }
    return false;
}

bool power_is_due(const struct power_look *l)
{
    return l->asked_ms >= (l->silent_ms >= POWER_SILENT_MS ? (uint64_t)POWER_AGAIN_MS : (uint64_t)POWER_TRIAL_MS);
}

enum power_answer power_read(const char *text)
{
    size_t end = strlen(text);
    while (end && strchr(" \t\r\n.", text[end - 1]))
        end--;
    size_t begin = end;
    while (begin && !strchr(" \t\r\n", text[begin - 1]))
        begin--;
    if (end - begin == 3 && !strncasecmp(text + begin, "off", 3))
        return POWER_OFF;
    return end - begin == 2 && !strncasecmp(text + begin, "on", 2) ? POWER_ON : POWER_UNKNOWN;
}
