#include "node/agent/complete_network.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/address.h"
#include "node/agent/mac.h"
#include "node/agent/member.h"
#include "node/base/err.h"

enum { FIRST_VNI = 1000, LAST_VNI = 16777215, TAKEN_MAX = 65536 };

/* ---- networks ---- */

static const struct object *network_with_vni(const struct mirror *m, json_int_t vni)
{
    for (const struct object *n = mirror_next(m, OBJECT_NETWORK, NULL); n; n = mirror_next(m, OBJECT_NETWORK, n->name))
        if (json_integer_value(object_spec(n, "vni")) == vni)
            return n;
    return NULL;
}

static int complete_vni(const struct mirror *m, json_t *spec, struct complete_error *e)
{
    json_int_t vni = json_integer_value(json_object_get(spec, "vni"));
    const struct object *other = vni ? network_with_vni(m, vni) : NULL;
    if (other)
        return complete_refuse(e, 409, "in-use", "spec.vni", "network %s has VXLAN number %lld", other->name,
                               (long long)vni);
    for (json_int_t n = FIRST_VNI; !vni && n <= LAST_VNI; n++)
        if (!network_with_vni(m, n))
            vni = n;
    json_object_set_new(spec, "vni", json_integer(vni));
    return 0;
}

/* Two networks whose addresses a node itself has cannot be told apart by it. */
static int check_overlap(const struct mirror *m, const struct subnet *subnet, struct complete_error *e)
{
    for (const struct object *n = mirror_next(m, OBJECT_NETWORK, NULL); n;
         n = mirror_next(m, OBJECT_NETWORK, n->name)) {
        struct subnet other;
        if (!json_is_true(object_spec(n, "nat")) || subnet_parse(object_spec_text(n, "subnet"), &other, NULL))
            continue;
        if (subnet_overlaps(subnet, &other))
            return complete_refuse(e, 409, "overlap", "spec.subnet",
                                   "network %s has %s, and its nodes are gateways, too", n->name,
                                   object_spec_text(n, "subnet"));
    }
    return 0;
}

int complete_network(const struct mirror *m, json_t *spec, struct complete_error *e)
{
    struct subnet subnet;
    struct address gateway;
    struct err err = {0};
    char text[ADDRESS_TEXT_MAX];
    if (subnet_parse(member_text(spec, "subnet"), &subnet, &err))
        return complete_refuse(e, 422, "invalid", "spec.subnet", "%s", err.text);
    bool nat = json_is_true(json_object_get(spec, "nat"));
    if (json_is_string(json_object_get(spec, "gateway"))) {
        if (address_parse(member_text(spec, "gateway"), &gateway, &err) || !subnet_contains(&subnet, &gateway))
            return complete_refuse(e, 422, "invalid", "spec.gateway", "%s is not in %s", member_text(spec, "gateway"),
                                   member_text(spec, "subnet"));
    } else if (nat) {
        gateway = subnet_gateway(&subnet);
        json_object_set_new(spec, "gateway", json_string(address_format(&gateway, text)));
    } else {
        json_object_del(spec, "gateway");
    }
    int rc = nat ? check_overlap(m, &subnet, e) : 0;
    return rc ? rc : complete_vni(m, spec, e);
}

/* ---- cards of guests ---- */

struct card_check {
    const struct mirror *mirror;
    const char *guest; /* id */
    const char *network;
    const struct subnet *subnet;
    char field[64];
};

/* Every address of the network that somebody has: other guests, and this one's other cards before `until`. */
static size_t collect_taken(const struct card_check *c, const json_t *own, size_t until, struct address *taken)
{
    size_t count = 0;
    for (const struct object *g = mirror_next(c->mirror, OBJECT_GUEST, NULL); g && count < TAKEN_MAX;
         g = mirror_next(c->mirror, OBJECT_GUEST, g->name)) {
        const json_t *cards = object_spec(g, "networks");
        for (size_t i = 0; strcmp(g->id, c->guest) && i < json_array_size(cards) && count < TAKEN_MAX; i++) {
            const json_t *card = json_array_get(cards, i);
            if (!strcmp(member_text(card, "network"), c->network))
                count += !address_parse(member_text(card, "address"), &taken[count], NULL);
        }
    }
    for (size_t i = 0; i < until && count < TAKEN_MAX; i++)
        if (!strcmp(member_text(json_array_get(own, i), "network"), c->network))
            count += !address_parse(member_text(json_array_get(own, i), "address"), &taken[count], NULL);
    return count;
}

static int check_address(const struct card_check *c, const json_t *card, const struct address *taken, size_t count,
                         struct complete_error *e)
{
    struct address address;
    struct err err = {0};
    if (address_parse(member_text(card, "address"), &address, &err) || subnet_check_guest(c->subnet, &address, &err))
        return complete_refuse(e, 422, "invalid", c->field, "%s", err.text);
    for (size_t i = 0; i < count; i++)
        if (address_equal(&taken[i], &address))
            return complete_refuse(e, 409, "in-use", c->field, "%s belongs to another guest of network %s",
                                   member_text(card, "address"), c->network);
    return 0;
}

static int complete_address(struct card_check *c, json_t *cards, size_t i, struct complete_error *e)
{
    json_t *card = json_array_get(cards, i);
    struct address *taken = calloc(TAKEN_MAX, sizeof *taken), address;
    struct err err = {0};
    char text[ADDRESS_TEXT_MAX];
    if (!taken)
        return complete_refuse(e, 500, "out-of-memory", c->field, "out of memory");
    size_t count = collect_taken(c, cards, i, taken);
    const struct object *network = mirror_named(c->mirror, OBJECT_NETWORK, c->network);
    if (network && count < TAKEN_MAX && !address_parse(object_spec_text(network, "gateway"), &address, NULL))
        taken[count++] = address;
    int rc = 0;
    if (json_object_get(card, "address"))
        rc = check_address(c, card, taken, count, e);
    else if (subnet_allocate(c->subnet, taken, count, &address, &err))
        rc = complete_refuse(e, 409, "full", c->field, "%s", err.text);
    else
        json_object_set_new(card, "address", json_string(address_format(&address, text)));
    free(taken);
    return rc;
}

int complete_guest_networks(const struct mirror *m, const char *id, json_t *spec, struct complete_error *e)
{
    json_t *cards = json_object_get(spec, "networks"), *card;
    size_t i;
    json_array_foreach (cards, i, card) {
        struct subnet subnet;
        struct card_check c = {.mirror = m, .guest = id, .subnet = &subnet};
        const char *name = member_text(card, "network");
        const struct object *network = mirror_named(m, OBJECT_NETWORK, name);
        if (!network)
            network = mirror_find(m, OBJECT_NETWORK, name);
        snprintf(c.field, sizeof c.field, "spec.networks[%zu].network", i);
        if (!network || !network->value)
            return complete_refuse(e, 422, "reference-not-found", c.field, "there is no network '%s'", name);
        json_object_set_new(card, "network", json_string(network->name));
        c.network = network->name;
        snprintf(c.field, sizeof c.field, "spec.networks[%zu].address", i);
        if (subnet_parse(object_spec_text(network, "subnet"), &subnet, NULL))
            return complete_refuse(e, 409, "invalid", c.field, "network %s has no subnet that can be used", name);
        if (complete_address(&c, cards, i, e))
            return -EINVAL;
        if (!json_object_get(card, "mac")) {
            char mac[MAC_TEXT_MAX];
            struct mac chosen = mac_of_id(id, (unsigned)i);
            json_object_set_new(card, "mac", json_string(mac_format(&chosen, mac)));
        }
    }
    return 0;
}
