/* The hashes that LUKS headers name. Threads: any. */
#ifndef NBD_LUKS_HASH_H
#define NBD_LUKS_HASH_H

#include <openssl/evp.h>

struct err;

enum { LUKS_HASH_NAME_MAX = 32, LUKS_HASH_BYTES_MAX = 64 };

/* NULL, and a sentence that names it and those there are. name: as in a header, foreign. */
const EVP_MD *luks_hash(const char *name, struct err *err);

#endif
