/* What a guest is told at its first boot: its name, its keys, its addresses and what else the user wants, as a disk
 * that cloud-init's NoCloud data source finds by its label CIDATA.
 *
 * Three files in an ISO 9660 image (with Rock Ridge and Joliet): meta-data, user-data, network-config. They are written
 * as JSON, which is YAML, so that nothing a user writes can become a key or end a string.
 * Threads: any. Source: cloud-init's documentation of NoCloud and of network configuration, version 2. */
#ifndef NODE_AGENT_SEED_H
#define NODE_AGENT_SEED_H

#include <stddef.h>
#include <stdint.h>

#include "node/agent/address.h"
#include "node/agent/mac.h"

struct err;

enum { SEED_HOSTNAME_MAX = 253, SEED_LABEL_MAX = 63, SEED_KEY_MAX = 16384, SEED_KEYS_MAX = 256 };
enum { SEED_CARDS_MAX = 32, SEED_ADDRESSES_MAX = 4, SEED_DNS_MAX = 8, SEED_USER_DATA_MAX = 1 << 20 };

struct seed_address {
    struct address address, gateway; /* gateway: family 0 = none */
    unsigned prefix;
};

struct seed_card {
    struct mac mac;
    struct seed_address addresses[SEED_ADDRESSES_MAX];
    unsigned address_count;
    struct address dns[SEED_DNS_MAX];
    unsigned dns_count;
    uint32_t mtu; /* 0: not said */
};

struct seed {
    const char *instance_id; /* the guest's id: a new one makes cloud-init begin anew */
    const char *hostname;
    const char *const *ssh_keys; /* lines as of authorized_keys, without options */
    unsigned ssh_key_count;
    const char *user_data; /* instead of ours: "#cloud-config...", "#!...", ...; NULL: none. Keys and name still hold */
    const struct seed_card *cards;
    unsigned card_count;
};

/* Errors: -EINVAL, the text names the field. */
int seed_check(const struct seed *seed, struct err *err);

/* The files; the caller's to free(). NULL: out of memory. The seed must have been checked. */
char *seed_meta_data(const struct seed *seed);
char *seed_user_data(const struct seed *seed);
char *seed_network_config(const struct seed *seed);

/* Checks, and writes the image to fd, an empty regular file or memfd; it stays the caller's. */
int seed_write_fd(const struct seed *seed, int fd, struct err *err);
/* The same into a file, mode 0600, all at once: whoever opens it sees the old one or the new one. */
int seed_write(const struct seed *seed, const char *path, struct err *err);

#endif
