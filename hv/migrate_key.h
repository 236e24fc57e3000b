/* The secrets of one migration: 32 random bytes, which whoever arranges it hands to both sides, and what follows from
 * them. Each connection has a key and a name of its own, so that none can stand in for another, and nothing that was
 * said in one migration means anything in another:
 *
 *     id                 HMAC-SHA-256(key, "drover migration"), its first 16 bytes in hex
 *     key of stream i    HMAC-SHA-256(key, "drover migration stream i")
 *     TLS 1.3 identity   "drover-migration/ID/i", external PSK with (EC)DHE
 *
 * Threads: any; a struct belongs to its owner. */
#ifndef HV_MIGRATE_KEY_H
#define HV_MIGRATE_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "node/base/tls.h"

struct err;

enum { MIGRATE_KEY_BYTES = 32, MIGRATE_ID_CHARS = 32 };

struct migrate_key {
    uint8_t bytes[MIGRATE_KEY_BYTES];
    bool there;
};

/* Reads exactly 32 bytes from fd, which may be a pipe or a file, and closes it. -EINVAL with a text: more, or fewer. */
int migrate_key_read(struct migrate_key *key, int fd, struct err *err);
void migrate_key_wipe(struct migrate_key *key);
/* A server's knows all streams, a client's is that of one. NULL with a text: no memory. */
struct tls_context *migrate_key_server(const struct migrate_key *key, struct err *err);
struct tls_context *migrate_key_client(const struct migrate_key *key, unsigned stream, struct err *err);
/* Which stream a peer of that identity is; -1: none. */
int migrate_key_stream(const struct migrate_key *key, const char *identity);

#endif
