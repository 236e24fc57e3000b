/* See mirror.h. Two sorted arrays for each kind: tens of thousands of objects are looked up in a microsecond and listed
 * in order, and one that comes moves a few pointers. */
#include "node/agent/mirror.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/member.h"

static const char prefix[] = "/drover/", state_prefix[] = "state/";

struct entry {
    struct object object;      /* first */
    uint64_t seen, state_seen; /* the rounds in which the parts were put */
};

/* Ordered by a key of the objects. */
struct index {
    struct entry **entries;
    size_t count, room;
};

struct mirror {
    struct index by_id[OBJECT_KIND_COUNT], by_name[OBJECT_KIND_COUNT]; /* by_name: those with a value */
    struct index unreadable[OBJECT_KIND_COUNT];                        /* by id; entries of their own, without parts */
    LIST_HEAD(, mirror_listener) listeners;
    uint64_t round;
};

const char *object_kind_name(enum object_kind kind)
{
    static const char *const names[OBJECT_KIND_COUNT] = {
        "node",      "pool",        "image",  "volume", "network",  "guest", "token",          "task",
        "migration", "volume-move", "member", "owner",  "failover", "drill", "drill-schedule", "canary",
        "policy",    "plan",        "load",   "hours",  "balancer", "room",  "removed-node"};
    return names[kind];
}

int object_kind_of(const char *name)
{
    for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++)
        if (!strcmp(name, object_kind_name((enum object_kind)kind)))
            return kind;
    return -1;
}

/* ---- the arrays ---- */

static const char *key_of(const struct entry *e, bool by_name)
{
    return by_name ? e->object.name : e->object.id;
}

/* The first place whose key is not below. */
static size_t place_of(const struct index *index, bool by_name, const char *key)
{
    size_t low = 0, high = index->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(key_of(index->entries[middle], by_name), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct entry *look_up(const struct index *index, bool by_name, const char *key)
{
    size_t at = place_of(index, by_name, key);
    return at < index->count && !strcmp(key_of(index->entries[at], by_name), key) ? index->entries[at] : NULL;
}

static int insert(struct index *index, bool by_name, struct entry *e)
{
    if (index->count == index->room) {
        size_t room = index->room ? index->room * 2 : 16;
        struct entry **entries = reallocarray(index->entries, room, sizeof(struct entry *));
        if (!entries)
            return -ENOMEM;
        index->entries = entries;
        index->room = room;
    }
    size_t at = place_of(index, by_name, key_of(e, by_name));
    memmove(index->entries + at + 1, index->entries + at, (index->count - at) * sizeof(struct entry *));
    index->entries[at] = e;
    index->count++;
    return 0;
}

static void take_out(struct index *index, bool by_name, const struct entry *e)
{
    for (size_t at = place_of(index, by_name, key_of(e, by_name)); at < index->count; at++) {
        if (index->entries[at] != e)
            continue;
        index->count--;
        memmove(index->entries + at, index->entries + at + 1, (index->count - at) * sizeof(struct entry *));
        return;
    }
}

/* ---- entries ---- */

static void free_entry(struct entry *e)
{
    json_decref(e->object.value);
    json_decref(e->object.state);
    free(e->object.id);
    free(e->object.name);
    free(e);
}

/* by_id: an index by id. NULL: no memory. */
static struct entry *entry_for(struct index *by_id, enum object_kind kind, const char *id)
{
    struct entry *e = look_up(by_id, false, id);
    if (e)
        return e;
    e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->object.kind = kind;
    e->object.id = strdup(id);
    e->object.name = strdup("");
    if (!e->object.id || !e->object.name || insert(by_id, false, e)) {
        free_entry(e);
        return NULL;
    }
    return e;
}

static void tell(struct mirror *m, const struct entry *e, enum object_part part)
{
    struct mirror_listener *l, *next;
    for (l = LIST_FIRST(&m->listeners); l; l = next) {
        next = LIST_NEXT(l, link);
        l->changed(l, &e->object, part);
    }
}

static void drop_value(struct mirror *m, struct entry *e)
{
    if (e->object.value)
        take_out(&m->by_name[e->object.kind], true, e);
    json_decref(e->object.value);
    e->object.value = NULL;
    e->object.revision = 0;
}

static void drop_state(struct entry *e)
{
    json_decref(e->object.state);
    e->object.state = NULL;
    e->object.state_revision = 0;
}

static void drop_unreadable(struct mirror *m, struct entry *e)
{
    take_out(&m->unreadable[e->object.kind], false, e);
    free_entry(e);
}

static void forget_if_empty(struct mirror *m, struct entry *e)
{
    if (e->object.value || e->object.state)
        return;
    take_out(&m->by_id[e->object.kind], false, e);
    free_entry(e);
}

/* ---- what the store says ---- */

/* "/drover/guest/ID" or "/drover/state/guest/ID". */
static bool parse_key(const char *key, enum object_kind *kind, bool *state, const char **id)
{
    char name[16];
    if (strncmp(key, prefix, sizeof prefix - 1))
        return false;
    key += sizeof prefix - 1;
    *state = !strncmp(key, state_prefix, sizeof state_prefix - 1);
    if (*state)
        key += sizeof state_prefix - 1;
    const char *slash = strchr(key, '/');
    if (!slash || (size_t)(slash - key) >= sizeof name || !slash[1] || strchr(slash + 1, '/'))
        return false;
    memcpy(name, key, (size_t)(slash - key));
    name[slash - key] = 0;
    int found = object_kind_of(name);
    if (found < 0)
        return false;
    *kind = (enum object_kind)found;
    *id = slash + 1;
    return true;
}

static int take_value(struct mirror *m, struct entry *e, json_t *value, uint64_t revision)
{
    const char *name = json_string_value(json_object_get(value, "name"));
    char *copy = name && json_is_object(json_object_get(value, "spec")) ? strdup(name) : NULL;
    if (!copy) {
        json_decref(value);
        return -EBADMSG;
    }
    drop_value(m, e);
    free(e->object.name);
    e->object.name = copy;
    e->object.value = value;
    e->object.revision = revision;
    return insert(&m->by_name[e->object.kind], true, e);
}

/* Pages of a read come one after another, and the watch begins with the first one's revision: it repeats some of the
 * rest. */
static bool is_older(const struct entry *e, bool state, uint64_t revision)
{
    return revision < (state ? e->object.state_revision : e->object.revision);
}

/* A value came, or went, and is one of ours or not. Without memory for it nobody hears of it. */
static void note_unreadable(struct mirror *m, enum object_kind kind, const char *id, uint64_t revision, bool unreadable)
{
    struct entry *e = unreadable ? entry_for(&m->unreadable[kind], kind, id) : look_up(&m->unreadable[kind], false, id);
    if (!e || revision < e->object.revision)
        return;
    e->object.revision = revision;
    e->seen = m->round;
    if (!unreadable)
        drop_unreadable(m, e);
}

/* Of what is not even an object; is it news? */
static int take_nothing(struct mirror *m, enum object_kind kind, const char *id, bool state, uint64_t revision)
{
    const struct entry *e = look_up(&m->by_id[kind], false, id);
    if (!state && (!e || !is_older(e, state, revision)))
        note_unreadable(m, kind, id, revision, true);
    return -EBADMSG;
}

int mirror_put(struct mirror *m, const char *key, const char *text, size_t len, uint64_t revision)
{
    enum object_kind kind;
    bool state;
    const char *id;
    if (!parse_key(key, &kind, &state, &id))
        return 0;
    json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(value)) {
        json_decref(value);
        return take_nothing(m, kind, id, state, revision);
    }
    struct entry *e = entry_for(&m->by_id[kind], kind, id);
    if (!e) {
        json_decref(value);
        return -ENOMEM;
    }
    int rc = 0;
    if (is_older(e, state, revision)) {
        json_decref(value);
        return 0;
    }
    if (state) {
        drop_state(e);
        e->state_seen = m->round;
        e->object.state = value;
        e->object.state_revision = revision;
    } else {
        e->seen = m->round;
        rc = take_value(m, e, value, revision);
        note_unreadable(m, kind, id, revision, rc == -EBADMSG);
    }
    if (!rc)
        tell(m, e, state ? OBJECT_STATE : OBJECT_VALUE);
    forget_if_empty(m, e);
    return rc;
}

void mirror_delete(struct mirror *m, const char *key, uint64_t revision)
{
    enum object_kind kind;
    bool state;
    const char *id;
    if (!parse_key(key, &kind, &state, &id))
        return;
    if (!state)
        note_unreadable(m, kind, id, revision, false);
    struct entry *e = look_up(&m->by_id[kind], false, id);
    if (!e || is_older(e, state, revision))
        return;
    if (state)
        drop_state(e);
    else
        drop_value(m, e);
    tell(m, e, state ? OBJECT_STATE : OBJECT_VALUE);
    forget_if_empty(m, e);
}

void mirror_begin(struct mirror *m)
{
    m->round++;
}

void mirror_sweep(struct mirror *m)
{
    for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
        for (size_t i = m->unreadable[kind].count; i-- > 0;)
            if (m->unreadable[kind].entries[i]->seen != m->round)
                drop_unreadable(m, m->unreadable[kind].entries[i]);
        for (size_t i = m->by_id[kind].count; i-- > 0;) {
            struct entry *e = m->by_id[kind].entries[i];
            bool value_gone = e->object.value && e->seen != m->round;
            bool state_gone = e->object.state && e->state_seen != m->round;
            if (value_gone)
                drop_value(m, e);
            if (state_gone)
                drop_state(e);
            if (value_gone)
                tell(m, e, OBJECT_VALUE);
            if (state_gone)
                tell(m, e, OBJECT_STATE);
            forget_if_empty(m, e);
        }
    }
}

void mirror_stir(struct mirror *m)
{
    for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++)
        if (m->by_name[kind].count)
            tell(m, m->by_name[kind].entries[0], OBJECT_VALUE);
}

/* ---- who looks ---- */

void mirror_listen(struct mirror *m, struct mirror_listener *listener)
{
    LIST_INSERT_HEAD(&m->listeners, listener, link);
}

void mirror_unlisten(struct mirror_listener *listener)
{
    LIST_REMOVE(listener, link);
}

const struct object *mirror_find(const struct mirror *m, enum object_kind kind, const char *id)
{
    const struct entry *e = look_up(&m->by_id[kind], false, id);
    return e ? &e->object : NULL;
}

const struct object *mirror_named(const struct mirror *m, enum object_kind kind, const char *name)
{
    const struct entry *e = look_up(&m->by_name[kind], true, name);
    return e ? &e->object : NULL;
}

const struct object *mirror_next(const struct mirror *m, enum object_kind kind, const char *after)
{
    const struct index *index = &m->by_name[kind];
    size_t at = after ? place_of(index, true, after) : 0;
    while (after && at < index->count && !strcmp(index->entries[at]->object.name, after))
        at++;
    return at < index->count ? &index->entries[at]->object : NULL;
}

const struct object *mirror_unreadable(const struct mirror *m, enum object_kind kind, const char *after)
{
    const struct index *index = &m->unreadable[kind];
    size_t at = after ? place_of(index, false, after) : 0;
    if (after && at < index->count && !strcmp(index->entries[at]->object.id, after))
        at++;
    return at < index->count ? &index->entries[at]->object : NULL;
}

size_t mirror_count(const struct mirror *m, enum object_kind kind)
{
    return m->by_name[kind].count;
}

const json_t *object_spec(const struct object *o, const char *key)
{
    return json_object_get(json_object_get(o->value, "spec"), key);
}

const char *object_spec_text(const struct object *o, const char *key)
{
    return member_text(json_object_get(o->value, "spec"), key);
}

/* ---- life ---- */

struct mirror *mirror_new(void)
{
    struct mirror *m = calloc(1, sizeof *m);
    if (m)
        LIST_INIT(&m->listeners);
    return m;
}

void mirror_free(struct mirror *m)
{
    if (!m)
        return;
    for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
        for (size_t i = 0; i < m->by_id[kind].count; i++)
            free_entry(m->by_id[kind].entries[i]);
        for (size_t i = 0; i < m->unreadable[kind].count; i++)
            free_entry(m->unreadable[kind].entries[i]);
        free(m->by_id[kind].entries);
        free(m->unreadable[kind].entries);
        free(m->by_name[kind].entries);
    }
    free(m);
}
