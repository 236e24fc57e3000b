#include "node/agent/tenure.h"

#include <stddef.h>

#define NS(ms) ((uint64_t)(ms)*UINT64_C(1000000))

static void move(struct tenure *t, uint64_t until_ns)
{
    if (until_ns > t->until_ns)
        t->until_ns = until_ns;
}

static bool is_within(uint64_t since_ns, uint64_t now_ns, uint64_t ms)
{
    return now_ns < since_ns + NS(ms);
}

void tenure_begin(struct tenure *t, uint64_t sent_ns, uint64_t now_ns)
{
    t->steady_ns = now_ns;
    t->kept_ns = sent_ns;
    t->held = true;
    move(t, sent_ns + NS(TENURE_TTL_MS - TENURE_MARGIN_MS));
}

void tenure_kept(struct tenure *t, uint64_t sent_ns, uint64_t now_ns)
{
    if (!t->held || sent_ns <= t->kept_ns)
        return;
    if (!is_within(t->kept_ns, now_ns, TENURE_GAP_MS))
        t->steady_ns = now_ns;
    t->kept_ns = sent_ns;
    move(t, sent_ns + NS(TENURE_TTL_MS - TENURE_MARGIN_MS));
}

void tenure_lost(struct tenure *t)
{
    t->held = false;
}

bool tenure_runs(const struct tenure *t, uint64_t now_ns)
{
    return now_ns < t->until_ns;
}

bool tenure_asks(const struct tenure *t, uint64_t now_ns)
{
    return tenure_runs(t, now_ns) && !is_within(t->kept_ns, now_ns, TENURE_ASK_MS);
}

/* Before the deadline nobody can have taken anything over, and from when they were asked on nobody will. After it,
 * somebody may have, and then forgotten how to reach the store. */
bool tenure_extend(struct tenure *t, uint64_t asked_ns, uint64_t now_ns)
{
    if (!tenure_runs(t, now_ns) || asked_ns >= t->until_ns)
        return false;
    move(t, asked_ns + NS(TENURE_PLEDGE_MS - TENURE_MARGIN_MS));
    return true;
}

bool tenure_pledge(struct tenure *t, uint64_t now_ns)
{
    if (t->held && is_within(t->kept_ns, now_ns, TENURE_ASK_MS))
        return false;
    t->pledged_ns = now_ns + NS(TENURE_PLEDGE_MS);
    return true;
}

bool tenure_starts(const struct tenure *t, uint64_t now_ns)
{
    return t->held && tenure_runs(t, now_ns) && now_ns >= t->pledged_ns;
}

const char *tenure_forbids(const struct tenure *t, uint64_t now_ns)
{
    if (!t->held || !tenure_runs(t, now_ns))
        return "this node is not in the cluster at the moment";
    if (now_ns < t->pledged_ns)
        return "this node has pledged to take nothing over, because the store was away";
    if (!is_within(t->kept_ns, now_ns, TENURE_GAP_MS))
        return "the store does not answer at the moment";
    if (is_within(t->steady_ns, now_ns, TENURE_STEADY_MS))
        return "this node has just come, or the store was away: others have time to come back";
    return NULL;
}
