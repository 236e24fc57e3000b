/* NBD URIs: any text is parsed or refused with a sentence. */
#include <stdlib.h>
#include <string.h>

#include "nbd/nbd_uri.h"
#include "node/base/err.h"
#include "tests/fuzz/fuzz_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    struct nbd_uri uri;
    struct err err = {0};
    if (nbd_uri_parse(text, &uri, &err) && !*err.text)
        abort();
    free(text);
    return 0;
}
