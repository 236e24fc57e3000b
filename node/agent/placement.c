#include "node/agent/placement.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/boot_image.h"
#include "node/agent/complete.h"
#include "node/agent/complete_network.h"
#include "node/agent/kind.h"
#include "node/agent/member.h"
#include "node/agent/placement_room.h"
#include "node/agent/presence.h"

static const double SCORE_NOISE = 1e-12;
static const char apart_key[] = "anti_affinity", together_key[] = "affinity";
static const char *const scope_words[PLACEMENT_SCOPES] = {"node", "rack", "site"};

/* ---- rules as text ---- */

static bool take_word(struct placement_group *g, const char *word, size_t len)
{
    if (len == 4 && !strncmp(word, "soft", len)) {
        g->hard = false;
        return true;
    }
    for (int s = 0; s < PLACEMENT_SCOPES; s++)
        if (len == 4 && !strncmp(word, scope_words[s], len)) {
            g->scope = (enum placement_scope)s;
            return true;
        }
    return false;
}

bool placement_parse(const char *text, struct placement_group *g)
{
    size_t n = strcspn(text, ":");
    *g = (struct placement_group){.scope = PLACEMENT_NODE, .hard = true};
    if (!n || n >= PLACEMENT_GROUP_MAX ||
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != n)
        return false;
    memcpy(g->name, text, n);
    for (text += n; *text; text += n) {
        text++; /* a colon */
        n = strcspn(text, ":");
        if (!take_word(g, text, n))
            return false;
    }
    return true;
}

const char *placement_check(const json_t *value)
{
    struct placement_group g;
    return placement_parse(json_string_value(value), &g)
               ? NULL
               : "must be GROUP, GROUP:rack, GROUP:site, each with :soft if it may be broken; a group's name has "
                 "letters, digits, '-', '_' and '.'";
}

/* Is it one of the groups of this list? What it says of it. */
static bool is_member(const json_t *list, const char *name, struct placement_group *as)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (text && placement_parse(text, as) && !strcmp(as->name, name))
            return true;
    }
    return false;
}

static void widen(struct placement_group *g, const struct placement_group *by)
{
    g->hard |= by->hard;
    g->scope = by->scope > g->scope ? by->scope : g->scope;
}

void placement_widen(const struct mirror *m, const char *key, struct placement_group *g)
{
    struct placement_group as;
    for (const struct object *o = mirror_next(m, OBJECT_GUEST, NULL); o; o = mirror_next(m, OBJECT_GUEST, o->name))
        if (is_member(object_spec(o, key), g->name, &as))
            widen(g, &as);
}

/* ---- places ---- */

static const char *label_of(const struct object *node, enum placement_scope scope)
{
    return member_text(object_spec(node, "labels"), scope_words[scope]);
}

bool placement_same_place(const struct object *a, const struct object *b, enum placement_scope scope)
{
    if (!strcmp(a->name, b->name))
        return true;
    const char *label = scope == PLACEMENT_NODE ? "" : label_of(a, scope);
    return *label && !strcmp(label, label_of(b, scope));
}

/* ---- judging ---- */

__attribute__((format(printf, 2, 3))) static bool forbid(char *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (why)
        vsnprintf(why, PLACEMENT_WHY_MAX, format, args);
    va_end(args);
    return false;
}

struct placement_guest placement_guest_of(const struct object *guest, bool live)
{
    return (struct placement_guest){.id = guest->id,
                                    .spec = json_object_get(guest->value, "spec"),
                                    .shown_on = live ? object_spec_text(guest, "node") : "",
                                    .moves = live};
}

static bool names(const json_t *list, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (text && !strcmp(text, name))
            return true;
    }
    return false;
}

/* A member of one of the guest's groups, and the node it binds to: where it is, or goes to. */
struct binding {
    unsigned rule;
    const struct object *guest, *node;
};

/* The guest's groups, and who else is in them: gathered once, for all nodes that are judged. */
struct rules {
    struct {
        struct placement_group group;
        bool apart;
    } of[2 * PLACEMENT_LIST_MAX];
    unsigned count;
    struct binding *bindings;
    size_t bound, room;
    bool failed; /* no memory: nothing is allowed */
};

static void list_rules(struct rules *r, const json_t *spec, bool apart)
{
    const json_t *list = json_object_get(spec, apart ? apart_key : together_key);
    for (size_t i = 0; i < json_array_size(list) && i < PLACEMENT_LIST_MAX; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        r->of[r->count].apart = apart;
        if (text && placement_parse(text, &r->of[r->count].group))
            r->count++;
    }
}

/* Nodes that take no guests bind nobody. */
static void bind(struct rules *r, unsigned rule, const struct mirror *m, const struct object *guest, const char *on)
{
    const struct object *node = *on ? mirror_named(m, OBJECT_NODE, on) : NULL;
    if (!presence_takes_guests(node))
        return;
    if (r->bound == r->room) {
        size_t room = r->room ? r->room * 2 : 64;
        struct binding *grown = realloc(r->bindings, room * sizeof *grown);
        r->failed |= !grown;
        if (!grown)
            return;
        r->bindings = grown;
        r->room = room;
    }
    r->bindings[r->bound++] = (struct binding){rule, guest, node};
}

static void bind_guest(struct rules *r, unsigned rule, const struct mirror *m, const struct object *guest)
{
    const char *going = member_text(guest->value, "migration");
    const struct object *migration = *going ? mirror_find(m, OBJECT_MIGRATION, going) : NULL;
    bind(r, rule, m, guest, object_spec_text(guest, "node"));
    if (migration && migration->value)
        bind(r, rule, m, guest, object_spec_text(migration, "to"));
}

static void gather(struct rules *r, const struct mirror *m, const struct placement_guest *g)
{
    struct placement_group as;
    *r = (struct rules){.count = 0};
    list_rules(r, g->spec, true);
    list_rules(r, g->spec, false);
    for (const struct object *o = mirror_next(m, OBJECT_GUEST, NULL); o && r->count;
         o = mirror_next(m, OBJECT_GUEST, o->name)) {
        if (!o->value || !strcmp(o->id, g->id) || json_is_true(json_object_get(o->value, "deleting")))
            continue;
        for (unsigned i = 0; i < r->count; i++) {
            struct placement_group *group = &r->of[i].group;
            if (!is_member(object_spec(o, r->of[i].apart ? apart_key : together_key), group->name, &as))
                continue;
            widen(group, &as);
            bind_guest(r, i, m, o);
        }
    }
}

/* Who of the group the guest would be with, or without: NULL if all is well. */
static const struct object *breaks(const struct rules *r, unsigned rule, const struct object *node)
{
    const struct object *elsewhere = NULL;
    for (size_t i = 0; i < r->bound; i++) {
        const struct binding *b = &r->bindings[i];
        if (b->rule != rule)
            continue;
        if (!placement_same_place(b->node, node, r->of[rule].group.scope))
            elsewhere = b->guest;
        else
            return r->of[rule].apart ? b->guest : NULL;
    }
    return r->of[rule].apart ? NULL : elsewhere;
}

/* False: a hard one is broken; *soft: how many soft ones are. */
static bool judge_groups(const struct rules *r, const struct object *node, unsigned *soft, char *why)
{
    for (unsigned i = 0; i < r->count; i++) {
        const struct placement_group *group = &r->of[i].group;
        bool apart = r->of[i].apart;
        const struct object *other = breaks(r, i, node);
        if (other && group->hard)
            return forbid(why, "%s %s keeps its guests %s: guest %s is %s %s", apart ? "anti-affinity" : "affinity",
                          group->name, apart ? "apart" : "together", other->name, apart ? "on the same" : "on another",
                          scope_words[group->scope]);
        *soft += other != NULL;
    }
    return !r->failed || forbid(why, "there is no memory to judge it");
}

/* A node that does not say what its processor can is not asked. */
static bool judge_processor(const struct mirror *m, const struct placement_guest *g, const struct object *node,
                            char *why)
{
    const json_t *offered = json_object_get(node->state, "cpu_models");
    const char *model = member_text(g->spec, "cpu"), *shown = "";
    const struct object *from = *g->shown_on ? mirror_named(m, OBJECT_NODE, g->shown_on) : NULL;
    if (!json_array_size(offered) || !*model)
        return true;
    if (strcmp(model, "host"))
        return names(offered, model) || forbid(why, "its processor is no %s", model);
    const json_t *has = from ? json_object_get(from->state, "cpu_models") : NULL;
    for (size_t i = 0; i < json_array_size(has); i++) {
        const char *text = json_string_value(json_array_get(has, i));
        if (text && !strncmp(text, "host-", 5))
            shown = text;
    }
    return !*shown || names(offered, shown) ||
           forbid(why, "the guest sees the processor of node %s, which is another one: `--cpu baseline-v2` moves",
                  from->name);
}

bool placement_admits(const json_t *spec, const char *node, char *why)
{
    const json_t *pin = json_object_get(spec, "pin");
    if (json_array_size(pin) && !names(pin, node))
        return forbid(why, "it is pinned to other nodes");
    return !names(json_object_get(spec, "avoid"), node) || forbid(why, "it avoids this node");
}

static bool judge(const struct mirror *m, const struct placement_guest *g, const struct rules *r,
                  const struct object *node, unsigned *soft, char *why)
{
    *soft = 0;
    return placement_admits(g->spec, node->name, why) && judge_processor(m, g, node, why) &&
           judge_groups(r, node, soft, why) && (!g->moves || boot_image_allows(m, g->spec, node, why));
}

static bool has_room(const struct mirror *m, const struct placement_guest *g, const struct object *node, char *why)
{
    struct placement_room room;
    placement_room_gather_of(&room, m, node);
    const struct placement_load load = placement_room_load(&room, m, g->id, g->spec);
    bool has = placement_room_fits(&room, &load, node, why);
    placement_room_fini(&room);
    return has;
}

bool placement_allows(const struct mirror *m, const struct placement_guest *g, const struct object *node, char *why)
{
    struct rules rules;
    unsigned soft;
    gather(&rules, m, g);
    bool allowed = judge(m, g, &rules, node, &soft, why);
    free(rules.bindings);
    return allowed && (!g->moves || has_room(m, g, node, why));
}

uint64_t placement_mask(const struct mirror *m, const struct placement_guest *g, const struct object *const *nodes,
                        int count)
{
    struct rules rules;
    unsigned soft;
    uint64_t mask = 0;
    gather(&rules, m, g);
    for (int n = 0; n < count; n++)
        if (judge(m, g, &rules, nodes[n], &soft, NULL))
            mask |= UINT64_C(1) << n;
    free(rules.bindings);
    return mask;
}

/* ---- choosing ---- */

/* The choice so far. */
struct choosing {
    const struct mirror *mirror;
    const struct placement_guest *guest;
    struct rules rules;
    struct placement_room *room;
    struct placement_load load;
    bool loaded;
    const struct object *best, *refused;
    unsigned soft;                  /* rules that the best one breaks */
    double score, filled;           /* with it there; less is better */
    bool lacks_room;                /* the one refused does; its rules allow it */
    char reason[PLACEMENT_WHY_MAX]; /* why that one is */
};

/* Rooms are gathered when the first node is allowed. */
static bool fits(struct choosing *c, const struct object *node, char *why)
{
    if (!c->room->gathered)
        placement_room_gather(c->room, c->mirror);
    if (!c->loaded)
        c->load = placement_room_load(c->room, c->mirror, c->guest->id, c->guest->spec);
    c->loaded = true;
    return placement_room_fits(c->room, &c->load, node, why);
}

/* That a node has no room tells more than that a rule forbids another one. */
static void look_at(struct choosing *c, const struct placement_choice *how, const struct object *node)
{
    unsigned soft;
    char why[PLACEMENT_WHY_MAX] = "";
    bool allowed = judge(c->mirror, c->guest, &c->rules, node, &soft, why);
    if (!allowed || !fits(c, node, why)) {
        if (allowed || !c->lacks_room) {
            c->refused = node;
            memcpy(c->reason, why, sizeof why);
        }
        c->lacks_room |= allowed;
        return;
    }
    double score = placement_room_after(c->room, &c->load, node);
    double filled = placement_room_filled(c->room, &c->load, node);
    bool same = fabs(score - c->score) <= SCORE_NOISE && filled < c->filled - SCORE_NOISE;
    bool better = !c->best || soft < c->soft || (soft == c->soft && (score < c->score - SCORE_NOISE || same));
    if (better && (!how->takes || how->takes(how->context, node))) {
        c->best = node;
        c->score = score;
        c->filled = filled;
        c->soft = soft;
    }
}

const struct object *placement_choose(const struct mirror *m, const struct placement_guest *g,
                                      const struct placement_choice *how, char *why)
{
    struct placement_room own = {0};
    struct choosing c = {.mirror = m, .guest = g, .room = how->room ? how->room : &own};
    gather(&c.rules, m, g);
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n; n = mirror_next(m, OBJECT_NODE, n->name))
        if (presence_takes_guests(n) && (!how->except || strcmp(n->name, how->except) != 0))
            look_at(&c, how, n);
    free(c.rules.bindings);
    placement_room_fini(&own);
    if (!c.best && c.refused)
        forbid(why, "no node may have it; %.60s: %.200s", c.refused->name, c.reason);
    else if (!c.best)
        forbid(why, "no %snode is up and takes guests: see `drover node list`", how->except ? "other " : "");
    return c.best;
}

/* ---- specs ---- */

static int complete_nodes(const struct mirror *m, json_t *spec, const char *key, struct complete_error *e)
{
    json_t *list = json_object_get(spec, key);
    char field[64];
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        const struct object *node = mirror_named(m, OBJECT_NODE, text);
        if (!node)
            node = mirror_find(m, OBJECT_NODE, text);
        snprintf(field, sizeof field, "spec.%s[%zu]", key, i);
        if (!node || !node->value)
            return complete_refuse(e, 422, "reference-not-found", field, "there is no node '%s'", text);
        json_array_set_new(list, i, json_string(node->name));
    }
    return 0;
}

int placement_complete(const struct mirror *m, json_t *spec, struct complete_error *e)
{
    static const char *const keys[] = {"affinity", "anti_affinity", "pin", "avoid"};
    for (unsigned i = 0; i < 4; i++)
        if (json_is_array(json_object_get(spec, keys[i])) && !json_array_size(json_object_get(spec, keys[i])))
            json_object_del(spec, keys[i]);
    int rc = complete_nodes(m, spec, "pin", e);
    rc = rc ? rc : complete_nodes(m, spec, "avoid", e);
    const json_t *pin = json_object_get(spec, "pin"), *avoid = json_object_get(spec, "avoid");
    bool any = !json_array_size(pin);
    for (size_t i = 0; i < json_array_size(pin); i++)
        any |= !names(avoid, json_string_value(json_array_get(pin, i)));
    if (!rc && !any)
        rc = complete_refuse(e, 422, "invalid", "spec.avoid", "it avoids every node that it is pinned to");
    return rc;
}
