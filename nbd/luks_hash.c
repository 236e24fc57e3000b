/* See luks_hash.h. */
#include "nbd/luks_hash.h"

#include <errno.h>
#include <string.h>

#include "node/base/err.h"

const EVP_MD *luks_hash(const char *name, struct err *err)
{
    static const struct {
        const char *name;
        const EVP_MD *(*md)(void);
    } known[] = {{"sha256", EVP_sha256},
                 {"sha512", EVP_sha512},
                 {"sha1", EVP_sha1},
                 {"sha384", EVP_sha384},
                 {"sha224", EVP_sha224}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].md();
    err_set(err, EOPNOTSUPP, "the hash '%.31s' is not supported (sha1, sha224, sha256, sha384, sha512 are)", name);
    return NULL;
}
