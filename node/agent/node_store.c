#include "node/agent/node_store.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/agent/node_config.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/store.h"
#include "node/base/store_copy.h"
#include "node/base/store_tls.h"
#include "node/base/tls.h"

struct move {
    struct loop *loop;
    struct store_copy copy;
    int result;
    bool done;
    unsigned closed;
};

static void copied(struct store_copy *copy, int result)
{
    struct move *m = CONTAINER_OF(copy, struct move, copy);
    m->result = result;
    m->done = true;
}

static void closed(void *context)
{
    ((struct move *)context)->closed++;
}

static void run(struct move *m, struct err *err)
{
    m->copy.prefix = "/drover/";
    m->copy.done = copied;
    store_copy_start(&m->copy);
    while (!m->done)
        loop_step(m->loop);
    if (m->result)
        *err = m->copy.err;
}

static void close_both(struct move *m)
{
    unsigned wanted = 0;
    struct store *stores[] = {m->copy.from, m->copy.to};
    for (unsigned i = 0; i < 2; i++)
        if (stores[i]) {
            store_close(stores[i], closed, m);
            wanted++;
        }
    while (m->closed < wanted)
        loop_step(m->loop);
}

int node_store_move(const char *state, const char *uri, struct err *err)
{
    static struct move m; /* large */
    struct node_config config;
    struct tls_client_files files;
    int rc = node_config_read(state, &config, err);
    if (rc)
        return rc;
    if (strlen(uri) >= sizeof config.store)
        return err_set(err, ENAMETOOLONG, "the store's URI has more than %zu letters", sizeof config.store - 1);
    store_tls_files(state, &files);
    struct store_options options = {.ca_file = files.ca, .cert_file = files.certificate, .key_file = files.key};
    m.loop = loop_new(err);
    if (!m.loop)
        return -EIO;
    m.copy.from = store_open(config.store, m.loop, &options, err); /* locked while an agent runs */
    m.copy.to = m.copy.from ? store_open(uri, m.loop, &options, err) : NULL;
    if (m.copy.to)
        run(&m, err);
    rc = m.copy.to ? m.result : -(err->code ? err->code : EIO);
    close_both(&m);
    loop_free(m.loop);
    if (rc)
        return rc;
    snprintf(config.store, sizeof config.store, "%s", uri);
    rc = node_config_write(state, &config, err);
    if (!rc)
        log_info("%llu keys were moved to %s, %llu were there already; the old store is left as it is",
                 (unsigned long long)m.copy.copied, uri, (unsigned long long)m.copy.present);
    return rc;
}
