#include "node/agent/volume_condition.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/member.h"
#include "node/agent/owner.h"
#include "node/agent/volume_member.h"

enum { TEXT_MAX = 256 };

/* What is said of all members together. */
struct sum {
    unsigned members, made, in_sync, resyncing;
    bool failed;
    char reason[TEXT_MAX];
};

/* The driver's word for it, or without a process: what was in sync is so, and the rest is behind. */
static const char *condition_of(const char *state, const json_t *before, bool replacement)
{
    static const char *const words[][2] = {{"in-sync", "in-sync"}, {"syncing", "resyncing"}, {"absent", "missing"},
                                           {"lost", "missing"},    {"foreign", "foreign"},   {"down", "down"}};
    const char *last = member_text(before, "condition");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(state, words[i][0]))
            return words[i][1];
    if (!*last)
        return replacement ? "new" : "in-sync";
    if (!strcmp(last, "in-sync") || !strcmp(last, "down"))
        return "in-sync";
    return strcmp(last, "new") ? "outdated" : last;
}

/* The same member's line of the last state; another one in its place has none. */
static const json_t *line_before(const struct object *volume, const char *id)
{
    const json_t *lines = json_object_get(volume->state, "members");
    for (size_t i = 0; i < json_array_size(lines); i++)
        if (!strcmp(member_text(json_array_get(lines, i), "id"), id))
            return json_array_get(lines, i);
    return NULL;
}

static void copy_number(json_t *to, const json_t *told, const json_t *before, const char *key)
{
    const json_t *value = json_object_get(told ? told : before, key);
    json_object_set_new(to, key, json_integer(json_integer_value(value)));
}

/* Where it is, and what its node says. */
static json_t *place_line(const struct mirror *m, const struct object *member)
{
    const char *phase = member_text(member->state, "phase");
    const char *node = volume_member_node(m, member);
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", member->id, "pool", object_spec_text(member, "pool"), "node",
                     node, "phase", *phase ? phase : "making", "reason",
                     volume_member_is_up(m, member) ? member_text(member->state, "reason") : "its node is away");
}

static void count(struct sum *sum, const struct object *member, const json_t *line, const char *what)
{
    bool made = json_is_true(json_object_get(member->state, "made"));
    sum->made += made;
    sum->members++;
    if (made || strcmp(member_text(line, "phase"), "failed"))
        return;
    sum->failed = true;
    snprintf(sum->reason, sizeof sum->reason, "%s on node %s: %s", what, member_text(line, "node"),
             member_text(line, "reason"));
}

static json_t *member_line(const struct mirror *m, const struct object *volume, const struct object *member,
                           size_t index, const struct volume_owner *owner, struct sum *sum)
{
    static const char *const numbers[] = {"missed_bytes", "resynced_bytes", "repaired", "lost"};
    bool stranger = owner->strangers >> index & 1;
    const json_t *told = stranger ? NULL : json_array_get(json_object_get(owner->status, "members"), index);
    const json_t *before = line_before(volume, member->id);
    char what[32];
    bool replacement = json_is_true(object_spec(member, "replacement"));
    const char *condition = condition_of(member_text(told, "state"), before, replacement);
    json_t *line = place_line(m, member);
    json_object_set_new(line, "index", json_integer((json_int_t)index));
    json_object_set_new(line, "condition", json_string(condition));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        copy_number(line, told, before, numbers[i]);
    snprintf(what, sizeof what, "member %zu", index);
    count(sum, member, line, what);
    sum->in_sync += !strcmp(condition, "in-sync");
    sum->resyncing += !strcmp(condition, "resyncing");
    return line;
}

static json_t *health_of(const struct sum *s, const struct volume_owner *owner)
{
    const char *word = "good";
    if (json_integer_value(json_object_get(owner->status, "dead")))
        word = "dead";
    else if (json_is_true(json_object_get(owner->status, "suspended")))
        word = "suspended";
    else if (s->resyncing)
        word = "resyncing";
    else if (s->in_sync < s->members)
        word = "degraded";
    return strcmp(word, "good") ? json_sprintf("%s (%u of %u in sync)", word, s->in_sync, s->members)
                                : json_string(word);
}

/* As large as it is by the owner's word, or was; one that is larger than it was wanted to be is rounded up. */
static json_int_t size_of(const struct object *volume, const struct volume_owner *owner)
{
    json_int_t wanted = json_integer_value(object_spec(volume, "size"));
    json_int_t told = json_integer_value(json_object_get(owner->status, "disk_bytes"));
    json_int_t before = json_integer_value(json_object_get(volume->state, "bytes"));
    json_int_t is = told ? told : before ? before : wanted;
    return is < wanted ? is : wanted;
}

static json_t *scrub_of(const struct object *volume, const struct volume_owner *owner)
{
    const json_t *before = json_object_get(volume->state, "scrub"), *told = json_object_get(owner->status, "scrub");
    json_int_t done = json_integer_value(json_object_get(before, "done"));
    bool news = owner->scrubbed > done;
    const json_t *from = news ? told : before;
    return json_pack("{s:I, s:b, s:I, s:I}", "done", news ? (json_int_t)owner->scrubbed : done, "running",
                     json_is_true(json_object_get(told, "running")), "repaired",
                     json_integer_value(json_object_get(from, "repaired")), "unreadable",
                     json_integer_value(json_object_get(from, "unreadable")));
}

/* A member that is too small for the size that is wanted, and its node's word for why. */
static json_t *why_not_larger(const struct mirror *m, const struct object *volume, const struct volume_owner *owner)
{
    int small;
    const struct object *member =
        volume_member_all_large(m, volume, &small) ? NULL : volume_member_at(m, volume->id, small);
    const char *reason = member ? member_text(member->state, "reason") : "";
    if (*reason)
        return json_sprintf("member %d is not large enough: %s", small, reason);
    return json_string(*owner->reason ? owner->reason : "it is being made larger");
}

static void set_phase(const struct mirror *m, json_t *state, const struct object *volume, const struct sum *s,
                      const struct volume_owner *owner, unsigned wanted)
{
    bool was_made = json_is_true(json_object_get(volume->state, "made"));
    bool made = was_made || (s->made == wanted && owner->formed);
    bool failed = s->failed || *owner->reason;
    const char *phase = json_is_true(json_object_get(volume->value, "deleting")) ? "deleting"
                        : made                                                   ? "ready"
                        : failed                                                 ? "failed"
                                                                                 : "making";
    json_object_set_new(state, "phase", json_string(phase));
    json_object_set_new(state, "made", json_boolean(made));
    json_object_set_new(state, "reason", json_string(s->failed ? s->reason : owner->reason));
    if (made && json_integer_value(json_object_get(state, "bytes")) < json_integer_value(object_spec(volume, "size")))
        json_object_set_new(state, "reason", why_not_larger(m, volume, owner));
}

static void witness_line(const struct mirror *m, const struct object *volume, const struct volume_owner *owner,
                         struct sum *sum, json_t *state)
{
    const struct object *witness = volume_member_at(m, volume->id, WITNESS);
    json_t *line = witness ? place_line(m, witness) : json_object();
    const json_t *before = json_object_get(volume->state, "witness"), *told = json_object_get(owner->status, "witness");
    unsigned members = sum->members;
    json_object_set_new(state, "witness", line);
    if (!witness)
        return;
    if (strcmp(member_text(before, "id"), witness->id) != 0)
        before = NULL;
    const char *word = !told || owner->witness_stranger ? "" : json_is_true(told) ? "in-sync" : "lost";
    json_object_set_new(line, "condition",
                        json_string(condition_of(word, before, json_is_true(object_spec(witness, "replacement")))));
    count(sum, witness, line, "the witness");
    sum->members = members;
}

json_t *volume_condition(const struct mirror *m, const struct object *volume, const struct volume_owner *owner)
{
    struct sum sum = {.members = 0};
    const json_t *pools = object_spec(volume, "pools");
    json_t *members = json_array();
    unsigned wanted = (unsigned)json_array_size(pools);
    json_t *state =
        json_pack("{s:s, s:o, s:I, s:I, s:I, s:o}", "node", volume_home(m, volume), "scrub", scrub_of(volume, owner),
                  "bytes", size_of(volume, owner), "epoch", (json_int_t)owner_epoch(m, volume->id), "left_bytes",
                  json_integer_value(json_object_get(owner->status, "left_bytes")), "members", members);
    for (size_t i = 0; i < json_array_size(pools); i++) {
        const struct object *member = volume_member_at(m, volume->id, (int)i);
        if (member)
            json_array_append_new(members, member_line(m, volume, member, i, owner, &sum));
    }
    json_object_set_new(state, "health", health_of(&sum, owner));
    if (*object_spec_text(volume, "witness")) {
        witness_line(m, volume, owner, &sum, state);
        wanted++;
    }
    if (owner->away && *owner->away)
        json_object_set_new(state, "away",
                            json_pack("{s:i, s:s, s:I}", "index", owner->away_index, "id", owner->away, "since",
                                      (json_int_t)owner->away_since_s));
    set_phase(m, state, volume, &sum, owner, wanted);
    return state;
}
