#include "node/base/store_tls.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "node/base/tls.h"

void store_tls_files(const char *state, struct tls_client_files *files)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s/store-tls", state);
    if (access(folder, F_OK))
        snprintf(folder, sizeof folder, "%s/tls", state);
    tls_client_files(folder, files);
}
