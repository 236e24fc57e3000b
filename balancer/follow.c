#include "balancer/follow.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "balancer/snapshot_load.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/log.h"

enum { RETRY_MS = 1000, KIND_MAX = 16 };

static const char prefix[] = "/drover/", state_prefix[] = "state/";
static const char *const kinds[] = {"node",  "image",  "guest", "migration", "load",
                                    "hours", "policy", "plan",  "balancer",  NULL};

static bool is_kept(const char *kind)
{
    for (const char *const *k = kinds; *k; k++)
        if (!strcmp(*k, kind))
            return true;
    return false;
}

/* "/drover/guest/ID" or "/drover/state/guest/ID". */
static bool parse_key(const char *key, char kind[KIND_MAX], bool *state, const char **id)
{
    if (strncmp(key, prefix, sizeof prefix - 1))
        return false;
    key += sizeof prefix - 1;
    *state = !strncmp(key, state_prefix, sizeof state_prefix - 1);
    key += *state ? sizeof state_prefix - 1 : 0;
    const char *slash = strchr(key, '/');
    if (!slash || slash - key >= KIND_MAX || !slash[1] || strchr(slash + 1, '/'))
        return false;
    snprintf(kind, KIND_MAX, "%.*s", (int)(slash - key), key);
    *id = slash + 1;
    return is_kept(kind);
}

static json_t *member(json_t *holder, const char *key)
{
    json_t *object = json_object_get(holder, key);
    if (!object) {
        object = json_object();
        json_object_set_new(holder, key, object);
    }
    return object;
}

/* What each guest was measured to use last, of its record its own part: who has just come somewhere, or whose agent has
 * just begun, is known from before. */
static void remember(json_t *objects, json_t *entry)
{
    json_t *all = member(objects, "measured"), *state = json_object_get(entry, "state"), *use;
    const json_t *there = json_object_get(objects, "guest");
    const char *id;
    json_object_foreach (json_object_get(state, "guests"), id, use)
        if (snapshot_load_is_enough(use) && json_object_get(json_object_get(there, id), "value"))
            json_object_set_new(all, id,
                                json_pack("{s:{s:O*, s:b, s:{s:O}}, s:O*}", "state", "unit",
                                          json_object_get(state, "unit"), "digested", 1, "guests", id, use, "seen",
                                          json_object_get(entry, "seen")));
}

/* One part of an entry, NULL: it cannot be read. What was there before does not hold then, and what does nobody knows;
 * that is said once, until it can be read. */
static void take_part(json_t *entry, const char *key, bool state, json_t *value)
{
    const char *part = state ? "state" : "value", *mark = state ? "state_unreadable" : "unreadable";
    if (value) {
        json_object_set_new(entry, part, value);
        json_object_del(entry, mark);
        return;
    }
    if (!json_object_get(entry, mark))
        log_warn("%s: what the store has there is no JSON object; it is left out until it is one", key);
    json_object_del(entry, part);
    json_object_set_new(entry, mark, json_true());
}

static void drop_part(json_t *entry, bool state)
{
    json_object_del(entry, state ? "state" : "value");
    json_object_del(entry, state ? "state_revision" : "revision");
    json_object_del(entry, state ? "state_unreadable" : "unreadable");
}

bool follow_take(json_t *objects, const char *key, const char *text, size_t len, int64_t revision, double clock_s)
{
    char kind[KIND_MAX];
    const char *id;
    bool state;
    if (!parse_key(key, kind, &state, &id))
        return false;
    json_t *value = text ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (value && !json_is_object(value)) { /* not ours, or of a version that is not known */
        json_decref(value);
        value = NULL;
    }
    const char *stamp = state ? "state_revision" : "revision";
    json_t *all = member(objects, kind), *old = json_object_get(all, id);
    if (revision < json_integer_value(json_object_get(old, stamp))) {
        json_decref(value);
        return false;
    }
    json_t *entry = old ? json_copy(old) : json_object(); /* a view of before keeps the old one */
    if (text) {
        take_part(entry, key, state, value);
        json_object_set_new(entry, stamp, json_integer(revision));
    } else {
        drop_part(entry, state);
    }
    if (value && !strcmp(kind, "load")) {
        snapshot_load_digest(value);
        json_object_set_new(entry, "seen", json_real(clock_s));
        remember(objects, entry);
    }
    if (!value && !state && !strcmp(kind, "guest"))
        json_object_del(json_object_get(objects, "measured"), id);
    bool gone = !json_object_get(entry, "revision") && !json_object_get(entry, "state_revision");
    if (gone)
        json_decref(entry);
    return (gone ? !old || !json_object_del(all, id) : !json_object_set_new(all, id, entry));
}

static double clock_s(void)
{
    return (double)clock_ms() / 1000;
}

/* ---- watching ---- */

static void read_page(struct follow *f);

static void read_anew(struct follow *f)
{
    json_decref(f->fresh);
    f->fresh = json_object();
    f->after[0] = 0;
    read_page(f);
}

static void later(struct follow *f, const struct err *err)
{
    log_warn("the store cannot be followed: %s", err->text);
    loop_timer_set(f->loop, &f->timer, clock_ns() + RETRY_MS * 1000000ull);
}

static void timer_fired(struct loop_timer *timer)
{
    read_anew(CONTAINER_OF(timer, struct follow, timer));
}

static void events(struct store_watch *watch, const struct store_event *list, uint32_t count, int64_t revision)
{
    struct follow *f = CONTAINER_OF(watch, struct follow, watch);
    for (uint32_t i = 0; i < count; i++)
        follow_take(f->objects, list[i].key, list[i].value, list[i].value_len, list[i].revision, clock_s());
    f->revision = revision;
    f->changed(f);
}

static void watch_ended(struct store_watch *watch, int result, const struct err *err)
{
    struct follow *f = CONTAINER_OF(watch, struct follow, watch);
    (void)result;
    f->watching = f->current = false;
    later(f, err);
}

/* What was seen before and has not changed since keeps its age, and what is not measured now what was measured. */
static void keep_seen(struct follow *f)
{
    json_t *entry, *measured = member(f->fresh, "measured");
    const char *id;
    json_object_foreach (json_object_get(f->fresh, "load"), id, entry) {
        const json_t *old = json_object_get(json_object_get(f->objects, "load"), id);
        if (old && json_equal(json_object_get(old, "state_revision"), json_object_get(entry, "state_revision")))
            json_object_set(entry, "seen", json_object_get(old, "seen"));
        remember(f->fresh, entry);
    }
    json_object_foreach (json_object_get(f->objects, "measured"), id, entry)
        if (!json_object_get(measured, id) && json_object_get(json_object_get(f->fresh, "guest"), id))
            json_object_set(measured, id, entry);
}

static void begin_watch(struct follow *f)
{
    struct err err = {0};
    keep_seen(f);
    json_decref(f->objects);
    f->objects = f->fresh;
    f->fresh = NULL;
    f->watch =
        (struct store_watch){.prefix = prefix, .after = f->first_revision, .events = events, .ended = watch_ended};
    if (store_watch(f->store, &f->watch, &err)) {
        later(f, &err);
        return;
    }
    f->watching = f->current = true;
    f->revision = f->first_revision;
    f->changed(f);
}

/* ---- reading ---- */

static void page_read(struct store_read *read, int result)
{
    struct follow *f = CONTAINER_OF(read, struct follow, read);
    if (result == -ECANCELED)
        return; /* the store is being closed */
    if (result) {
        later(f, &read->err);
        return;
    }
    if (!f->after[0])
        f->first_revision = read->revision;
    for (uint32_t i = 0; i < read->count; i++)
        follow_take(f->fresh, read->items[i].key, read->items[i].value, read->items[i].value_len,
                    read->items[i].revision, clock_s());
    if (read->more && read->count) {
        snprintf(f->after, sizeof f->after, "%s", read->items[read->count - 1].key);
        read_page(f);
    } else {
        begin_watch(f);
    }
}

static void read_page(struct follow *f)
{
    f->read =
        (struct store_read){.key = prefix, .prefix = true, .after = f->after[0] ? f->after : NULL, .done = page_read};
    store_read(f->store, &f->read);
}

/* ---- life ---- */

void follow_begin(struct follow *f)
{
    f->objects = json_object();
    f->timer.fire = timer_fired;
    read_anew(f);
}

void follow_end(struct follow *f)
{
    loop_timer_clear(f->loop, &f->timer);
    if (f->watching)
        store_unwatch(f->store, &f->watch);
    f->watching = f->current = false;
}

void follow_fini(struct follow *f)
{
    json_decref(f->objects);
    json_decref(f->fresh);
    f->objects = f->fresh = NULL;
}
