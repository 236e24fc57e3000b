/* The keys of encrypted volumes. Each volume has a passphrase of its own, 32 random bytes as 64 hexadecimal digits,
 * which opens its LUKS header; the store has it wrapped (AES-256-GCM) by the cluster's volume key, and bound to the
 * volume's id. The cluster's volume key is on every node, in STATE/volume.key (mode 0600, 64 digits), and nowhere else:
 * whoever has the store, or the disks, has nothing.
 *
 *     wrapped, as digits   nonce (12 bytes) | ciphertext (32) | tag (16)
 *
 * No key stays in the agent's memory: the file is read when it is needed, and what was read is wiped. Deleting the
 * volume's object makes its bytes unreadable for good. Threads: any. Source: NIST SP 800-38D. */
#ifndef NODE_AGENT_VOLUME_KEY_H
#define NODE_AGENT_VOLUME_KEY_H

struct err;

enum {
    VOLUME_KEY_BYTES = 32,
    VOLUME_KEY_TEXT = 2 * VOLUME_KEY_BYTES + 1,
    VOLUME_KEY_WRAPPED_TEXT = 2 * (12 + 32 + 16) + 1
};

/* The cluster's: made with the cluster; read for a node that joins; written by one that did. Texts hold secrets: the
 * caller wipes them. Errors: -EEXIST there is one; -ENOENT there is none; -EINVAL it is no key. */
int volume_key_make_cluster(const char *state, struct err *err);
int volume_key_read_cluster(const char *state, char text[VOLUME_KEY_TEXT], struct err *err);
int volume_key_write_cluster(const char *state, const char *text, struct err *err);

/* A new volume's. */
int volume_key_new(const char *state, const char *id, char wrapped[VOLUME_KEY_WRAPPED_TEXT], struct err *err);
/* -EBADMSG: wrapped by another cluster's key, for another volume, or changed. */
int volume_key_unwrap(const char *state, const char *id, const char *wrapped, char passphrase[VOLUME_KEY_TEXT],
                      struct err *err);
/* The same as a file in memory, for a program that takes its key from a descriptor; the caller's to close. */
int volume_key_file(const char *state, const char *id, const char *wrapped, struct err *err);
/* As its VOLUME_KEY_BYTES bytes instead of digits: a migration's key is made, wrapped and kept like a volume's. */
int volume_key_bytes_file(const char *state, const char *id, const char *wrapped, struct err *err);

#endif
