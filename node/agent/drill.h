/* A drill: the record of one fault that is put into the running cluster on purpose, from its declaration to its report.
 *
 *     value   {"kind":"drill", "id":..., "name":..., "key": what ends the fault early (fault_config.h),
 *              "spec": {"kind", "node", "volume", "for_ms", "delay_ms", "guests": [canaries], "abort_if",
 * "also_unprotected", "heal_ms", "conductor", "by", "began"}, "fault": {"at", "error"}    written once by spec.node,
 * before it puts the fault in "abort": {"by", "at"}}      once somebody has aborted it state   {"phase", "reason",
 * "conductor", ...}, by its conductor (drill_run.h)
 *
 *     declared --> checked --> running --> healing --> done
 *         |           |           |           +------> failed     lost writes, or not well again in time
 *         |           |           +--> healing ------> aborted    by somebody, or because its condition came true
 *         +-----------+------------------------------> failed     refused, or the node does not put it in
 *
 * Names begin with the time, so that lists are in the order of time. Threads: any. */
#ifndef NODE_AGENT_DRILL_H
#define NODE_AGENT_DRILL_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/fault_config.h"
#include "node/agent/mirror.h"

struct json_t;

enum drill_kind {
    DRILL_POWER_LOSS,
    DRILL_PARTITION,
    DRILL_COORDINATOR_LOSS,
    DRILL_AGENT_CRASH,
    DRILL_MEMBER_LOSS,
    DRILL_SLOW_DISK,
    DRILL_MIGRATION_FAULT,
    DRILL_KIND_COUNT
};

enum drill_phase {
    DRILL_DECLARED,
    DRILL_CHECKED,
    DRILL_RUNNING,
    DRILL_HEALING,
    DRILL_DONE,
    DRILL_ABORTED,
    DRILL_FAILED,
    DRILL_PHASE_COUNT
};

/* What a kind does, and to whom. */
struct drill_traits {
    const char *name;
    enum fault_cut cut;
    enum fault_kill kill;
    bool stalls;       /* the member's server is stopped again and again */
    bool takes_member; /* spec.volume says whose member on the node is meant; guests of the node are not touched */
    bool takes_node;   /* if it lasts, the node counts as lost, and its protected guests run elsewhere */
    uint64_t for_ms;   /* if nobody says how long */
    bool moves;        /* its first canary is sent to another node, or to this one, and the fault comes meanwhile */
};

const struct drill_traits *drill_traits(enum drill_kind kind);
/* DRILL_KIND_COUNT: there is none of that name. */
enum drill_kind drill_kind_of(const char *name);
const char *drill_phase_name(enum drill_phase phase);
enum drill_phase drill_phase_of(const struct object *drill); /* from its state */
bool drill_has_ended(const struct object *drill);
/* One that goes on, or NULL. */
const struct object *drill_under_way(const struct mirror *mirror);

/* spec: as it was checked and completed; taken over. New reference, NULL: out of memory. */
struct json_t *drill_make(struct json_t *spec);
/* Its value with the mark that somebody has aborted it; new reference. */
struct json_t *drill_aborted(const struct object *drill, const char *by);

enum drill_kind drill_kind(const struct object *drill);
/* Of its spec; 0 if it is not there. */
uint64_t drill_number(const struct object *drill, const char *key);
bool drill_is_canary(const struct json_t *spec, const char *guest);
/* The first canary, or NULL. */
const struct object *drill_first_guest(const struct mirror *mirror, const struct json_t *spec);
/* The migration that the drill has begun, of whatever phase; NULL: none. */
const struct object *drill_migration(const struct mirror *mirror, const struct object *drill);
/* Where it is to go: away from spec.node, or to it if it is elsewhere. NULL: nowhere. */
const struct object *drill_destination(const struct mirror *mirror, const struct json_t *spec);
enum { DRILL_BY_MAX = 80 };
/* By whom it is asked for: "drill:NAME". */
void drill_by(const struct object *drill, char by[DRILL_BY_MAX]);
/* The member of spec.volume in a pool of spec.node, or NULL. */
const struct object *drill_member(const struct mirror *mirror, const struct json_t *spec);
/* The node that conducts it now: the one that was chosen, or while that is away the first other that is there. "":
 * none. Never the one that has the fault. */
const char *drill_conductor(const struct mirror *mirror, const struct json_t *spec);

#endif
