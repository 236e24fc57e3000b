/* See guest_seed.h. */
#include "node/agent/guest_seed.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/member.h"
#include "node/agent/seed.h"
#include "node/base/err.h"

/* Never NULL: what is no text is refused as an empty one. */
static const char *text_in(const json_t *value)
{
    const char *text = json_string_value(value);
    return text ? text : "";
}

/* json: {"mac":..., "address":..., "subnet":..., "gateway":..., "dns": [...], "mtu": N}. */
static int read_card(const json_t *json, struct seed_card *card, struct err *err)
{
    struct subnet subnet;
    const json_t *dns = json_object_get(json, "dns");
    struct seed_address *a = &card->addresses[0];
    int rc = mac_parse(member_text(json, "mac"), &card->mac, err);
    if (!rc)
        rc = address_parse(member_text(json, "address"), &a->address, err);
    if (!rc)
        rc = subnet_parse(member_text(json, "subnet"), &subnet, err);
    if (rc)
        return rc;
    a->prefix = subnet.prefix;
    card->address_count = 1;
    card->mtu = (uint32_t)json_integer_value(json_object_get(json, "mtu"));
    if (*member_text(json, "gateway"))
        rc = address_parse(member_text(json, "gateway"), &a->gateway, err);
    for (size_t i = 0; !rc && i < json_array_size(dns) && i < SEED_DNS_MAX; i++) {
        rc = address_parse(text_in(json_array_get(dns, i)), &card->dns[i], err);
        card->dns_count++;
    }
    return rc;
}

int guest_seed_write(const json_t *json, struct err *err)
{
    const json_t *cards = json_object_get(json, "cards"), *keys = json_object_get(json, "ssh_keys");
    const char *lines[SEED_KEYS_MAX];
    struct seed_card *list = calloc(SEED_CARDS_MAX, sizeof *list);
    struct seed seed = {.instance_id = member_text(json, "instance_id"),
                        .hostname = member_text(json, "hostname"),
                        .ssh_keys = lines,
                        .user_data = json_string_value(json_object_get(json, "user_data")),
                        .cards = list};
    int rc = list ? 0 : err_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; !rc && i < json_array_size(cards) && i < SEED_CARDS_MAX; i++) {
        rc = read_card(json_array_get(cards, i), &list[i], err);
        seed.card_count++;
    }
    for (size_t i = 0; i < json_array_size(keys) && i < SEED_KEYS_MAX; i++)
        lines[seed.ssh_key_count++] = text_in(json_array_get(keys, i));
    if (!rc)
        rc = seed_write(&seed, member_text(json, "path"), err);
    free(list);
    return rc;
}
