#include "node/agent/guest_deadline.h"

#include <jansson.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/err.h"

static void ask(struct guest_deadline *d);

static void note(struct guest_deadline *d, bool frozen)
{
    if (d->frozen == frozen)
        return;
    d->frozen = frozen;
    d->changed(d);
}

static void answered(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct guest_deadline *d = CONTAINER_OF(call, struct guest_deadline, call);
    (void)text; /* a link that is lost says so; a guest that refuses it is of another version */
    d->asking = false;
    if (rc)
        return;
    d->told_ns = d->asked_ns;
    d->known = true;
    note(d, json_is_true(json_object_get(answer, "frozen")));
    ask(d);
}

static void ask(struct guest_deadline *d)
{
    if (!d->link || d->asking || (d->known && d->told_ns == d->until_ns))
        return;
    d->asking = true;
    d->asked_ns = d->until_ns;
    d->call = (struct guest_call){
        .done = answered, .type = CONTROL_LEASE, .body = json_pack("{s:I}", "until_ns", (json_int_t)d->until_ns)};
    guest_link_call(d->link, &d->call);
}

static void opened(struct guest_link_handler *handler, const char *state)
{
    (void)state;
    ask(CONTAINER_OF(handler, struct guest_deadline, handler));
}

static void told(struct guest_link_handler *handler, const char *event, const char *state, const char *text)
{
    (void)state;
    (void)text;
    if (!strcmp(event, "frozen") || !strcmp(event, "thawed"))
        note(CONTAINER_OF(handler, struct guest_deadline, handler), !strcmp(event, "frozen"));
}

static void lost(struct guest_link_handler *handler, const char *why)
{
    struct guest_deadline *d = CONTAINER_OF(handler, struct guest_deadline, handler);
    (void)why;
    guest_link_close(d->link);
    d->link = NULL;
}

void guest_deadline_init(struct guest_deadline *d)
{
    d->handler = (struct guest_link_handler){.open = opened, .event = told, .lost = lost};
}

void guest_deadline_set(struct guest_deadline *d, const char *path, uint64_t until_ns)
{
    d->until_ns = until_ns;
    if (!d->link)
        guest_link_open(d->loop, path, &d->handler, &d->link, NULL);
    ask(d);
}

void guest_deadline_end(struct guest_deadline *d)
{
    guest_link_close(d->link);
    d->link = NULL;
    d->known = d->frozen = false;
}
