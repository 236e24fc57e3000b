/* See mac.h. */
#include "node/agent/mac.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/digest.h"
#include "node/base/err.h"
#include "node/base/hex.h"

enum { GROUP = 1, LOCAL = 2 };

struct mac mac_of_id(const char *id, unsigned index)
{
    uint64_t d = digest_of_id("mac", id, index);
    struct mac mac;
    for (unsigned i = 0; i < MAC_BYTES; i++)
        mac.bytes[i] = (uint8_t)(d >> 8 * i);
    mac.bytes[0] = (uint8_t)((mac.bytes[0] & ~(unsigned)GROUP) | LOCAL);
    return mac;
}

int mac_parse(const char *text, struct mac *mac, struct err *err)
{
    struct mac parsed, zero = {{0}};
    bool well = strlen(text) == MAC_TEXT_MAX - 1;
    for (unsigned i = 0; well && i < MAC_BYTES; i++) {
        int high = hex_digit(text[3 * i]), low = hex_digit(text[3 * i + 1]);
        well = high >= 0 && low >= 0 && (i == MAC_BYTES - 1 || text[3 * i + 2] == ':');
        parsed.bytes[i] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
    }
    if (!well)
        return err_set(err, EINVAL, "'%.32s' is no MAC address: write it as 52:54:00:12:34:56", text);
    if (parsed.bytes[0] & GROUP || mac_equal(&parsed, &zero))
        return err_set(err, EINVAL, "%s is not the address of one NIC: the first octet must be even, and not all are 0",
                       text);
    *mac = parsed;
    return 0;
}

char *mac_format(const struct mac *mac, char text[MAC_TEXT_MAX])
{
    const uint8_t *b = mac->bytes;
    snprintf(text, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
    return text;
}

bool mac_equal(const struct mac *a, const struct mac *b)
{
    return memcmp(a->bytes, b->bytes, MAC_BYTES) == 0;
}
