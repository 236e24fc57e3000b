/* What the process of a guest whose last pages follow it says of them, and what that is worth. Pure functions.
 *
 * By it a guest is ended whose pages can come no more. It is easily wrong: who was not there for a while, or learns
 * only now that the source has gone, holds words that are older than that, and the last page may have come since. So an
 * answer counts only as long as nothing has changed since its question was asked; and silence is counted from a
 * question that is not answered, and only while somebody listens.
 *
 * Threads: any. */
#ifndef NODE_AGENT_ARRIVAL_VOICE_H
#define NODE_AGENT_ARRIVAL_VOICE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/migration.h"

struct arrival_voice { /* begins as all zero */
    unsigned era, asked_era, said_era;
    bool waits;          /* a question has no answer yet */
    uint64_t looked_ms;  /* 0: never */
    uint64_t silence_ms; /* nothing was answered since, and somebody listened */
    enum migration_there said;
    bool gone, away, runs;
};

/* At each look, before anything else: what is known of the source, and whether the guest here has been told to go on.
 */
void arrival_voice_look(struct arrival_voice *voice, bool gone, bool away, bool runs, uint64_t now_ms);
/* A question is put to it; or would be, could it be asked now. */
void arrival_voice_ask(struct arrival_voice *voice, uint64_t now_ms);
void arrival_voice_hear(struct arrival_voice *voice, enum migration_there said);
enum migration_there arrival_voice_judge(const struct arrival_voice *voice, uint64_t now_ms);

#endif
