/* Judges a history: could a power cut, or the death of the server, at any instant have shown a client what it may not
 * see?
 *
 * What may survive. At a power cut every PUT that no finished sync covers may be there or not, sector by sector: a
 * write may be torn at any 512 byte boundary, and the later of two may be lost though the earlier is kept. A sync
 * covers the PUTs before its SYNC_BEGIN, from its SYNC_END on. Sectors are therefore independent, and what sector s may
 * hold is exactly: its last covered value, or any value PUT since. The judge looks at each of them after each event,
 * which is every prefix with every subset and every tear; nothing is sampled. When only the server dies, what was
 * PUT is there: the last value of s.
 *
 * What a client may see: each sector is a register. A change (WRITE, ZERO, TRIM) takes effect at one instant between
 * its ISSUE and its ACK; one that was never acknowledged, at any instant until the next START, or never.
 *     promised   a WRITE or ZERO that was acknowledged, and either had FUA, or was acknowledged before the ISSUE of a
 *                FLUSH that was acknowledged too (by any connection)
 * After a power cut s may hold the value of a change w that was issued, if no promised change d of s was issued after w
 * had ended: there is then an order of the changes, true to real time, in which w is the last and nothing promised is
 * missing. If nothing is promised, the zeroes s began with are a value too. Changes that overlap in time may have come
 * in either order. After the death of the server the same holds with "acknowledged" in the place of "promised". TRIM
 * leaves zeroes, or what was there: it is a ZERO that may be missing, even if it was promised The rule is as strict as
 * single images can be: whatever it allows, some correct disk could show.
 *
 * Thread: any; the history must be complete. */
#ifndef TESTS_POWER_JUDGE_H
#define TESTS_POWER_JUDGE_H

#include <stdint.h>

struct history;

enum judge_rule {
    JUDGE_HOLDS,
    JUDGE_FOREIGN, /* a PUT of what no client sent, or not for this sector, or not yet */
    JUDGE_LATE,    /* a PUT of a dead server's request after the next one started */
    JUDGE_KILL,    /* the server's death would lose an acknowledged change, or bring an old value back */
    JUDGE_POWER,   /* a power cut would lose a promised change, or bring an old value back */
};

struct judge_finding {
    enum judge_rule rule; /* JUDGE_HOLDS: the rest means nothing */
    uint32_t event;       /* the first after which it would have shown */
    uint32_t sector, value;
};

struct judge_tally {
    uint64_t instants;     /* prefixes judged */
    uint64_t values;       /* values judged anew; the others had not changed, nor had what is promised */
    uint32_t unsynced_max; /* sector writes in doubt at one instant: 2^n images */
};

/* Both are written on success. Errors: -ENOMEM; -EINVAL: an event speaks of what never began. */
int judge_history(const struct history *history, struct judge_finding *finding, struct judge_tally *tally);
const char *judge_rule_name(enum judge_rule rule);

#endif
