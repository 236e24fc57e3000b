#include "node/agent/drill_ask.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "node/agent/drill.h"
#include "node/agent/drill_condition.h"
#include "node/agent/member.h"

enum { DELAY_MS = 200 };

__attribute__((format(printf, 5, 6))) static int wrong(struct complete_error *e, const char *code, const char *prefix,
                                                       const char *field, const char *format, ...)
{
    va_list args;
    e->status = 422;
    e->code = code;
    snprintf(e->field, sizeof e->field, "%s%s", prefix, field);
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    return -EINVAL;
}

/* Names that must exist. */
static int check_names(const struct mirror *m, const json_t *asked, const char *prefix, struct complete_error *e)
{
    const char *node = member_text(asked, "node"), *volume = member_text(asked, "volume");
    size_t i;
    json_t *guest;
    if (!mirror_named(m, OBJECT_NODE, node))
        return wrong(e, "reference-not-found", prefix, "node", "there is no node '%s'", node);
    if (*volume && !mirror_named(m, OBJECT_VOLUME, volume))
        return wrong(e, "reference-not-found", prefix, "volume", "there is no volume '%s'", volume);
    json_array_foreach (json_object_get(asked, "guests"), i, guest)
        if (!mirror_named(m, OBJECT_GUEST, json_string_value(guest)))
            return wrong(e, "reference-not-found", prefix, "guests", "there is no guest '%s'",
                         json_string_value(guest));
    return 0;
}

int drill_ask_check(const struct mirror *m, const json_t *asked, const char *prefix, struct complete_error *e)
{
    char why[DRILL_CONDITION_TEXT_MAX];
    struct drill_condition condition;
    enum drill_kind kind = drill_kind_of(member_text(asked, "kind"));
    bool has_volume = json_object_get(asked, "volume");
    if (kind == DRILL_KIND_COUNT)
        return wrong(e, "field-invalid", prefix, "kind", "there is no drill of that kind");
    const struct drill_traits *t = drill_traits(kind);
    if (drill_condition_parse(member_text(asked, "abort_if"), &condition, why, sizeof why))
        return wrong(e, "field-invalid", prefix, "abort_if", "%s", why);
    if (t->takes_member && !has_volume)
        return wrong(e, "field-missing", prefix, "volume", "%s needs the volume whose member on the node is meant",
                     t->name);
    if (!t->takes_member && has_volume)
        return wrong(e, "field-invalid", prefix, "volume", "%s is a fault of the whole node: leave the volume out",
                     t->name);
    if (!t->stalls && json_object_get(asked, "delay"))
        return wrong(e, "field-invalid", prefix, "delay", "only slow-disk takes a delay");
    if (t->moves && !json_array_size(json_object_get(asked, "guests")))
        return wrong(e, "field-missing", prefix, "guests", "%s needs a canary that moves", t->name);
    return check_names(m, asked, prefix, e);
}

/* otherwise: taken over; NULL: it is left out. */
static void copy(json_t *to, const char *to_key, const json_t *from, const char *key, json_t *otherwise)
{
    json_t *value = json_object_get(from, key);
    if (value || otherwise)
        json_object_set(to, to_key, value ? value : otherwise);
    json_decref(otherwise);
}

json_t *drill_ask_spec(const struct mirror *m, const json_t *asked, const char *by, const char *self)
{
    const struct drill_traits *t = drill_traits(drill_kind_of(member_text(asked, "kind")));
    json_t *spec = json_object();
    copy(spec, "kind", asked, "kind", NULL);
    copy(spec, "node", asked, "node", NULL);
    copy(spec, "volume", asked, "volume", NULL);
    copy(spec, "guests", asked, "guests", json_array());
    copy(spec, "for_ms", asked, "for", json_integer((json_int_t)t->for_ms));
    copy(spec, "heal_ms", asked, "heal", NULL);
    copy(spec, "delay_ms", asked, "delay", t->stalls ? json_integer(DELAY_MS) : NULL);
    copy(spec, "abort_if", asked, "abort_if", json_string("others-down > 0"));
    copy(spec, "also_unprotected", asked, "also_unprotected", json_false());
    json_object_set_new(spec, "by", json_string(by));
    json_object_set_new(spec, "conductor", json_string(self));
    json_object_set_new(spec, "conductor", json_string(drill_conductor(m, spec)));
    return spec;
}
