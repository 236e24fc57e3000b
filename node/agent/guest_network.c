#include "node/agent/guest_network.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <string.h>

#include "node/agent/member.h"
#include "node/agent/network.h"
#include "node/agent/vxlan.h"
#include "node/base/err.h"

enum { BYTES_PER_MBIT = 125000 };

static uint32_t number_of(const json_t *object, const char *key)
{
    return (uint32_t)json_integer_value(json_object_get(object, key));
}

/* ---- making ---- */

static int ensure_network(const json_t *plan, const json_t *card, struct err *err)
{
    struct subnet subnet;
    struct address peers[VXLAN_PEERS_MAX];
    const json_t *list = json_object_get(plan, "peers");
    struct network_spec spec = {.bridge = {.id = member_text(card, "network"), .mtu = number_of(card, "mtu")},
                                .peers = peers};
    int rc = subnet_parse(member_text(card, "subnet"), &subnet, err);
    if (!rc && json_object_get(card, "gateway")) {
        rc = address_parse(member_text(card, "gateway"), &spec.bridge.gateways[0].address, err);
        spec.bridge.gateways[0].prefix = subnet.prefix;
        spec.bridge.gateway_count = 1;
    }
    for (size_t i = 0; i < json_array_size(list) && spec.peer_count < VXLAN_PEERS_MAX; i++)
        if (!address_parse(json_string_value(json_array_get(list, i)), &peers[spec.peer_count], NULL))
            spec.peer_count++;
    if (!rc && spec.peer_count) { /* alone there is nobody to speak to */
        spec.vni = number_of(card, "vni");
        rc = address_parse(member_text(plan, "local"), &spec.local, err);
    }
    return rc ? rc : network_ensure(&spec, err);
}

static int read_card(const char *guest, const json_t *json, struct address *address, struct network_card *card,
                     struct err *err)
{
    uint64_t rate = (uint64_t)number_of(json, "rate_mbit") * BYTES_PER_MBIT;
    *card = (struct network_card){
        .guest = guest,
        .index = number_of(json, "index"),
        .network = member_text(json, "network"),
        .addresses = address,
        .address_count = 1,
        .rates = {rate, rate},
        .queues = 1,
        .owner = (uid_t)-1,
        .mtu = number_of(json, "mtu"),
    };
    int rc = mac_parse(member_text(json, "mac"), &card->mac, err);
    return rc ? rc : address_parse(member_text(json, "address"), address, err);
}

int guest_network_prepare(const char *guest, const json_t *plan, struct err *err)
{
    const json_t *taps = json_object_get(plan, "taps");
    int rc = 0;
    for (size_t i = 0; !rc && i < json_array_size(taps); i++) {
        struct address address;
        struct network_card card;
        const json_t *json = json_array_get(taps, i);
        rc = ensure_network(plan, json, err);
        if (!rc)
            rc = read_card(guest, json, &address, &card, err);
        if (!rc)
            rc = network_plug(&card, err);
    }
    return rc;
}

int guest_network_refresh(const json_t *plan, struct err *err)
{
    const json_t *taps = json_object_get(plan, "taps");
    int rc = 0;
    for (size_t i = 0; !rc && i < json_array_size(taps); i++)
        rc = ensure_network(plan, json_array_get(taps, i), err);
    return rc;
}

int guest_network_announce(const char *guest, const json_t *plan, struct err *err)
{
    const json_t *taps = json_object_get(plan, "taps");
    int rc = 0;
    for (size_t i = 0; !rc && i < json_array_size(taps); i++) {
        struct address address;
        struct network_card card;
        rc = read_card(guest, json_array_get(taps, i), &address, &card, err);
        if (!rc)
            rc = network_announce(&card, err);
    }
    return rc;
}

/* ---- removing ---- */

/* A network goes with its last guest. */
int guest_network_clean(const char *guest, const json_t *plan, struct err *err)
{
    const json_t *taps = json_object_get(plan, "taps");
    int rc = network_unplug_all(guest, err);
    for (size_t i = 0; !rc && i < json_array_size(taps); i++) {
        struct err busy;
        rc = network_remove(member_text(json_array_get(taps, i), "network"), &busy);
        if (rc == -EBUSY) /* others are plugged in */
            rc = 0;
        else if (rc)
            *err = busy;
    }
    return rc;
}
