/* Stack descriptions: any text opens a stack or is refused with a sentence. Texts that would touch files or the network
 * are left out: this is about the description. */
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"
#include "tests/fuzz/fuzz_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    struct err err = {0};
    struct blk *blk = NULL;
    if (*text != '@' && !strstr(text, "raw") && !strstr(text, "nbd") && !strstr(text, "luks") && !strstr(text, "\\u")) {
        if (blk_open(fuzz_env(), text, 0, &blk, &err) == 0)
            blk_close(blk);
        else if (!*err.text)
            abort();
    }
    free(text);
    return 0;
}
