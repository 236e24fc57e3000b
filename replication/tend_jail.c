#include "replication/tend_jail.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/blk.h"
#include "nbd/blk_driver.h"
#include "nbd/nbd_credentials.h"
#include "nbd/nbd_uri.h"
#include "node/base/err.h"
#include "node/base/sandbox.h"

/* Layers that open nothing themselves. */
static bool is_inner(const char *driver)
{
    static const char *const names[] = {"align", "luks", "throttle", "volume"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(driver, names[i]))
            return true;
    return false;
}

static bool is_numeric(const char *host)
{
    uint8_t address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static bool is_reached(const json_t *layer)
{
    struct nbd_uri uri;
    struct err err;
    const char *text = json_string_value(json_object_get(layer, "uri"));
    return text && !nbd_uri_parse(text, &uri, &err) && !uri.local && is_numeric(uri.host);
}

/* A member as the volume takes it: a text, a layer, or a list of them. */
static bool member_may_open(const json_t *member)
{
    const char *text = json_string_value(member);
    char *copy;
    if (!member || (text && !strcmp(text, "missing")))
        return true;
    if (text)
        return tend_jail_may_open(text);
    copy = json_dumps(member, JSON_COMPACT);
    bool may = copy && tend_jail_may_open(copy);
    free(copy);
    return may;
}

static bool layer_may_open(const json_t *layer)
{
    const char *driver = json_string_value(json_object_get(layer, "driver"));
    const json_t *key = json_object_get(layer, "key"), *member;
    size_t i;
    bool may = driver && (!key || json_is_integer(json_object_get(key, "fd")));
    if (may && !strcmp(driver, "nbd"))
        return is_reached(layer);
    may = may && is_inner(driver) && member_may_open(json_object_get(layer, "witness"));
    json_array_foreach (json_object_get(layer, "members"), i, member)
        may = may && member_may_open(member);
    return may;
}

static bool may_open(const json_t *layers)
{
    const json_t *layer;
    size_t i;
    bool may = true;
    json_array_foreach (layers, i, layer)
        may = may && layer_may_open(layer);
    return may;
}

bool tend_jail_may_open(const char *stack)
{
    json_t *layers;
    struct err err;
    if (blk_stack_parse(stack, &layers, &err))
        return false;
    bool may = may_open(layers);
    json_decref(layers);
    return may;
}

int tend_jail_keep(const char *stack, struct err *err)
{
    json_t *layers;
    int rc = blk_stack_parse(stack, &layers, err);
    if (rc)
        return rc;
    rc = nbd_credentials_keep(layers, err);
    json_decref(layers);
    return rc;
}

int tend_jail_enter(uint32_t needs, struct err *err)
{
    /* what opening asks for beyond what a server does that has opened everything */
    static const int calls[] = {SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(fcntl), SCMP_SYS(eventfd2), SCMP_SYS(statx)};
    static const struct sandbox_calls own = {calls, sizeof calls / sizeof *calls, NULL, 0};
    static const struct sandbox_calls *const more[] = {&own, NULL};
    const struct sandbox sandbox = {
        .default_user = "drover-img",
        .connects = needs & BLK_NEEDS_SOCKETS,
        .keeps_root_directory = needs & BLK_NEEDS_PATHS,
        .more = more,
    };
    return sandbox_enter(&sandbox, err);
}
