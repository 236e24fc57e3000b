#include "node/agent/arrival_voice.h"

/* MUTE_MS: a process that waits for a page itself does not answer. DEAF_MS: looks come several times a second. */
enum { MUTE_MS = 5000, DEAF_MS = 2000 };

void arrival_voice_look(struct arrival_voice *v, bool gone, bool away, bool runs, uint64_t now_ms)
{
    bool deaf = !v->looked_ms || now_ms - v->looked_ms > DEAF_MS;
    if (deaf || (gone && !v->gone) || (away && !v->away) || (runs && !v->runs)) {
        v->era++;
        v->silence_ms = now_ms;
    }
    v->gone = gone;
    v->away = away;
    v->runs = runs;
    v->looked_ms = now_ms;
}

void arrival_voice_ask(struct arrival_voice *v, uint64_t now_ms)
{
    if (v->waits)
        return;
    v->waits = true;
    v->asked_era = v->era;
    v->silence_ms = now_ms;
}

void arrival_voice_hear(struct arrival_voice *v, enum migration_there said)
{
    v->waits = false;
    v->said = said;
    v->said_era = v->asked_era;
}

enum migration_there arrival_voice_judge(const struct arrival_voice *v, uint64_t now_ms)
{
    if (v->said_era == v->era && v->said != MIGRATION_THERE_FED)
        return v->said;
    return v->waits && now_ms - v->silence_ms > MUTE_MS ? MIGRATION_THERE_MUTE : MIGRATION_THERE_FED;
}
