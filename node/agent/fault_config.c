#include "node/agent/fault_config.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "node/agent/member.h"
#include "node/base/err.h"

static const char *const cuts[FAULT_CUT_COUNT] = {"none", "store", "peers", "all"};
static const char *const kills[FAULT_KILL_COUNT] = {"none", "agent", "node", "group"};

const char *fault_cut_name(enum fault_cut cut)
{
    return cuts[cut];
}

const char *fault_kill_name(enum fault_kill kill)
{
    return kills[kill];
}

static int index_of(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}

static bool are_texts(const json_t *list, size_t max)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_array_get(list, i)))
            return false;
    return json_is_array(list) && json_array_size(list) <= max;
}

static json_int_t number(const json_t *json, const char *key)
{
    return json_integer_value(json_object_get(json, key));
}

static bool is_in_bounds(const struct fault_config *c)
{
    json_int_t ms = number(c->json, "for_ms"), stall = number(c->json, "stall_ms"), port = number(c->json, "port");
    return ms > 0 && ms <= FAULT_MS_MAX && stall >= 0 && stall <= FAULT_STALL_MS_MAX && port > 0 && port < 65536 &&
           number(c->json, "agent") > 1;
}

int fault_config_read(struct fault_config *c, json_t *json, struct err *err)
{
    int cut = index_of(cuts, FAULT_CUT_COUNT, member_text(json, "cut"));
    int kill = index_of(kills, FAULT_KILL_COUNT, member_text(json, "kill"));
    *c = (struct fault_config){
        .json = json,
        .drill = member_text(json, "drill"),
        .key = member_text(json, "key"),
        .address = member_text(json, "address"),
        .group = member_text(json, "group"),
        .hold = member_text(json, "hold"),
        .port = (unsigned)number(json, "port"),
        .for_ms = (uint64_t)number(json, "for_ms"),
        .stall_ms = (uint64_t)number(json, "stall_ms"),
        .cut = cut < 0 ? FAULT_CUT_NONE : (enum fault_cut)cut,
        .kill = kill < 0 ? FAULT_KILL_NONE : (enum fault_kill)kill,
        .agent = (pid_t)number(json, "agent"),
    };
    bool needs_group = c->kill == FAULT_KILL_GROUP || c->stall_ms;
    if (cut >= 0 && kill >= 0 && is_in_bounds(c) && *c->key &&
        are_texts(json_object_get(json, "peers"), FAULT_ADDRESSES_MAX) &&
        are_texts(json_object_get(json, "store"), FAULT_ADDRESSES_MAX) &&
        are_texts(json_object_get(json, "groups"), FAULT_ADDRESSES_MAX) &&
        are_texts(json_object_get(json, "restart"), FAULT_ARGV_MAX) &&
        (!needs_group || (*c->group && !strchr(c->group, '/'))))
        return 0;
    fault_config_fini(c);
    return err_set(err, EINVAL, "what drover-fault is to do is not what a droverd of this version writes");
}

void fault_config_fini(struct fault_config *c)
{
    json_decref(c->json);
    c->json = NULL;
}
