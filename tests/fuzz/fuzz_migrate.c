/* What comes to the destination of a migration, behind TLS: any bytes are frames that are obeyed, within the guest's
 * memory, or refused with a sentence. The connection is the input. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "hv/memory.h"
#include "hv/migrate_facts.h"
#include "hv/migrate_link.h"
#include "hv/migrate_missing.h"
#include "hv/migrate_pack.h"
#include "hv/migrate_pages.h"
#include "hv/migrate_words.h"
#include "node/base/err.h"
#include "tests/fuzz/fuzz_env.h"

enum { RAM = 4 << 20, STREAMS = 2 };

static const uint8_t *input;
static size_t input_bytes;

int __wrap_migrate_link_get(struct migrate_link *link, void *to, size_t bytes, struct err *err);
int __wrap_migrate_link_get(struct migrate_link *link, void *to, size_t bytes, struct err *err)
{
    (void)link;
    if (bytes > input_bytes)
        return err_set(err, EPIPE, "the input ends");
    memcpy(to, input, bytes);
    input += bytes;
    input_bytes -= bytes;
    return 0;
}

static int words(struct migrate_link *link, const struct migrate_frame *f, struct err *err)
{
    static const char here_text[] =
        "{\"vcpus\": 1, \"cpu\": {\"model\": \"host\", \"features\": [[1, 0, 0, 0, 3, 0]]}, "
        "\"slots\": [], \"devices\": [{\"slot\": 2, \"device\": \"virtio-blk\"}], \"nets\": "
        "[{\"mac\": \"a\"}]}";
    json_t *here = json_loads(here_text, 0, NULL), *json = NULL;
    int rc = migrate_words_get(link, f->bytes, &json, err);
    if (!rc && f->type == MIGRATE_HELLO)
        migrate_facts_fit(json, here, err); /* what does not fit is said, and the next one is judged */
    json_decref(json);
    json_decref(here);
    return rc;
}

static struct migrate_missing missing;

static int obey(struct migrate_receiver *receiver, struct migrate_link *link, struct err *err)
{
    uint8_t header[MIGRATE_HEADER_BYTES];
    struct migrate_frame f;
    struct migrate_run run;
    int rc = __wrap_migrate_link_get(link, header, sizeof header, err);
    rc = rc ? rc : migrate_frame_unpack(&f, header, err);
    if (rc)
        return rc;
    switch (f.type) {
    case MIGRATE_PAGES:
    case MIGRATE_PACKED:
    case MIGRATE_ZEROES:
        receiver->stream = migrate_stream_of(f.number, STREAMS);
        return migrate_pages_receive(receiver, &f, err);
    case MIGRATE_HELLO:
    case MIGRATE_FINAL:
    case MIGRATE_READY:
    case MIGRATE_STARTED:
    case MIGRATE_COMPLETE:
    case MIGRATE_FAILED:
        return words(link, &f, err);
    case MIGRATE_MISSING:
        return migrate_missing_receive(&missing, link, &f, err);
    case MIGRATE_NEED:
        if (migrate_missing_near(&missing, f.number, 8, &run) && run.page + run.count > RAM / 4096)
            abort();
        return 0;
    default:
        return 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct migrate_receiver receiver = {.streams = STREAMS};
    struct migrate_link link = {.fd = -1, .wake = -1};
    struct err err = {0};
    if (!receiver.memory)
        receiver.memory = memory_new(RAM, &err);
    if (!missing.memory && migrate_missing_init(&missing, receiver.memory, &err))
        abort();
    migrate_missing_clear(&missing);
    if (!receiver.pack)
        receiver.pack = migrate_pack_new(&err);
    receiver.link = &link;
    input = data;
    input_bytes = size;
    int rc = 0;
    while (!rc)
        rc = obey(&receiver, &link, &err);
    if (!*err.text)
        abort();
    return 0;
}
