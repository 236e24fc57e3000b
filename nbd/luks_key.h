/* Memory for what must not leak: passphrases, volume keys, and what they are made of.
 *
 * The bytes lie in pages of their own, which are left out of core files (MADV_DONTDUMP), kept out of swap as far as
 * RLIMIT_MEMLOCK allows (mlock; a refusal is no error, `locked` tells), and wiped before they go back. Nothing here
 * ever puts a byte of them into a text. Threads: a key belongs to its caller. */
#ifndef NBD_LUKS_KEY_H
#define NBD_LUKS_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum { LUKS_PASSPHRASE_MAX = 256 << 10 }; /* bytes of a key file */

struct luks_key {
    uint8_t *bytes; /* NULL: none */
    size_t len_bytes;
    size_t room_bytes;
    bool locked;
};

/* Zeroed room for that many bytes, all of which count as its length. Errors: -ENOMEM. */
int luks_key_new(size_t len_bytes, struct luks_key *key, struct err *err);
/* Wipes and gives back; a key without bytes is accepted. */
void luks_key_fini(struct luks_key *key);

/* The whole of a file, newlines and all, as cryptsetup and QEMU read theirs. Errors: -errno of what failed, -EINVAL
 * empty or over LUKS_PASSPHRASE_MAX; the text names the file. */
int luks_key_read_file(const char *path, struct luks_key *key, struct err *err);
/* The same of an open descriptor, up to its end; it is closed, whatever happens. */
int luks_key_read_descriptor(int fd, struct luks_key *key, struct err *err);
/* A line from the terminal, without echo and without its newline. Errors: -ENXIO there is no terminal. */
int luks_key_ask(const char *prompt, struct luks_key *key, struct err *err);

#endif
