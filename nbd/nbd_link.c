/* See nbd_link.h. This half sends; nbd_receive.c listens.
 *
 * A command is in one of three lists, in this order, and in the slot that its cookie names:
 *
 *     queued --send_job--> sending --sent()--> waiting --answer--> done()
 *                             '----answer: stays until sent()----> done()
 *
 * An answer may arrive while the send that holds its request is still outstanding. The kernel, or
 * TLS, may then still read the caller's memory, so done() waits for the send to come back.
 *
 * A send gathers up to SEND_BYTES, so that the first commands of a long queue are answered while
 * the rest is on its way. A vector longer than the room left in send_iov continues in the next
 * send: `partial`. */
#include "nbd/nbd_link.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/emit.h"

enum { SEND_BYTES = 512 << 10, SLOT_BITS = 16 };

static_assert(NBD_LINK_COMMANDS_MAX <= 1 << SLOT_BITS, "a cookie's low bits name the slot");

int nbd_link_init(struct nbd_link *link, struct loop *loop, unsigned commands)
{
    *link = (struct nbd_link){.loop = loop, .slot_count = commands};
    link->slots = calloc(commands, sizeof(struct nbd_command *));
    link->free_slots = calloc(commands, sizeof *link->free_slots);
    if (!link->slots || !link->free_slots) {
        nbd_link_fini(link);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < commands; i++)
        link->free_slots[i] = (uint16_t)i;
    TAILQ_INIT(&link->queued);
    TAILQ_INIT(&link->sending);
    TAILQ_INIT(&link->waiting);
    return 0;
}

void nbd_link_fini(struct nbd_link *link)
{
    free(link->slots);
    free(link->free_slots);
    link->slots = NULL;
    link->free_slots = NULL;
}

/* ---- the end ---- */

void nbd_link_stop(struct nbd_link *link)
{
    link->broken = true;
    link->receive.state = RECEIVE_STOPPED;
}

void nbd_link_break(struct nbd_link *link, int code, const char *format, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    if (link->broken)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    err_set(&link->err, code, "%s", text);
    nbd_link_stop(link);
    link->broke(link);
}

static void release(struct nbd_link *link, struct nbd_command *command)
{
    unsigned slot = command->cookie & ((1u << SLOT_BITS) - 1);
    link->slots[slot] = NULL;
    link->in_flight--;
    link->free_slots[link->slot_count - link->in_flight - 1] = (uint16_t)slot;
}

struct nbd_command *nbd_link_recover(struct nbd_link *link)
{
    struct nbd_command_list *lists[] = {&link->waiting, &link->sending, &link->queued};
    if (!link->in_flight)
        return NULL;
    assert(link->broken && !stream_sending(&link->wire->stream) && !stream_receiving(&link->wire->stream));
    for (unsigned i = 0; i < 3; i++) {
        struct nbd_command *command = TAILQ_FIRST(lists[i]);
        if (command) {
            TAILQ_REMOVE(lists[i], command, entry);
            release(link, command);
            command->suspect = link->err.code == EPROTO && command == link->receive.command;
            return command;
        }
    }
    return NULL;
}

/* ---- answers ---- */

struct nbd_command *nbd_link_find(struct nbd_link *link, uint64_t cookie)
{
    uint64_t slot = cookie & ((1u << SLOT_BITS) - 1);
    struct nbd_command *command = slot < link->slot_count ? link->slots[slot] : NULL;
    return command && command->cookie == cookie && command->begun && !command->answered ? command : NULL;
}

void nbd_link_answered(struct nbd_link *link, struct nbd_command *command)
{
    command->answered = true;
    if (!command->sent)
        return;
    TAILQ_REMOVE(&link->waiting, command, entry);
    release(link, command);
    command->done(command);
}

/* ---- sending ---- */

static void write_header(const struct nbd_link *link, struct nbd_command *c)
{
    struct emit e = emit_to(c->header, sizeof c->header);
    bool extended = link->offer->extended;
    bool payload = c->type == NBD_CMD_WRITE && extended;
    emit_u32(&e, extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC);
    emit_u16(&e, (uint16_t)(c->flags | (payload ? NBD_CMD_FLAG_PAYLOAD_LEN : 0)));
    emit_u16(&e, (uint16_t)c->type);
    emit_u64(&e, c->cookie);
    emit_u64(&e, c->offset);
    assert(extended || c->length_bytes <= UINT32_MAX);
    if (extended)
        emit_u64(&e, c->length_bytes);
    else
        emit_u32(&e, (uint32_t)c->length_bytes);
}

static size_t header_bytes(const struct nbd_link *link)
{
    return link->offer->extended ? NBD_EXTENDED_REQUEST_BYTES : NBD_REQUEST_BYTES;
}

static void sent(struct stream *stream, int result)
{
    struct nbd_link *link = nbd_wire_user(stream);
    struct nbd_command *c, *next;
    if (link->broken)
        return;
    if (result) {
        nbd_link_break(link, -result, "sending failed: %s", strerror(-result));
        return;
    }
    struct nbd_command_list arrived = TAILQ_HEAD_INITIALIZER(arrived);
    TAILQ_CONCAT(&arrived, &link->sending, entry);
    TAILQ_FOREACH (c, &arrived, entry)
        c->sent = true;
    for (c = TAILQ_FIRST(&arrived); c; c = next) {
        next = TAILQ_NEXT(c, entry);
        TAILQ_REMOVE(&arrived, c, entry);
        TAILQ_INSERT_TAIL(&link->waiting, c, entry);
        if (c->answered)
            nbd_link_answered(link, c);
    }
    if (!TAILQ_EMPTY(&link->queued) || (link->leaving && !link->farewell))
        loop_defer_late(link->loop, &link->send_job);
    else if (link->farewell)
        nbd_link_break(link, ESHUTDOWN, "the client has taken its leave");
}

/* Appends what fits of a command's payload; true if that was all of it. */
static bool gather_payload(struct nbd_link *link, struct nbd_command *c, int from, int *iovs, size_t *bytes)
{
    int count = c->type == NBD_CMD_WRITE ? c->iov_count : 0;
    for (int i = from; i < count; i++) {
        if (*iovs == NBD_LINK_SEND_IOVS) {
            link->partial = c;
            link->partial_vector = i;
            return false;
        }
        if (c->iov[i].iov_len)
            link->send_iov[(*iovs)++] = c->iov[i];
        *bytes += c->iov[i].iov_len;
    }
    link->partial = NULL;
    return true;
}

static void send_queued(struct loop_job *job)
{
    struct nbd_link *link = CONTAINER_OF(job, struct nbd_link, send_job);
    struct nbd_command *c;
    int iovs = 0;
    size_t bytes = 0;
    if (link->broken || stream_sending(&link->wire->stream))
        return;
    while ((c = TAILQ_FIRST(&link->queued)) && bytes < SEND_BYTES && iovs + 2 <= NBD_LINK_SEND_IOVS) {
        int from = link->partial == c ? link->partial_vector : 0;
        if (link->partial != c) {
            write_header(link, c);
            c->begun = true;
            link->send_iov[iovs++] = (struct iovec){c->header, header_bytes(link)};
        }
        if (!gather_payload(link, c, from, &iovs, &bytes))
            break;
        TAILQ_REMOVE(&link->queued, c, entry);
        TAILQ_INSERT_TAIL(&link->sending, c, entry);
    }
    if (iovs == 0 && link->leaving) {
        link->farewell = true;
        struct nbd_command farewell = {.type = NBD_CMD_DISC};
        write_header(link, &farewell);
        memcpy(link->goodbye, farewell.header, sizeof link->goodbye);
        link->send_iov[iovs++] = (struct iovec){link->goodbye, header_bytes(link)};
    }
    if (iovs)
        stream_send(&link->wire->stream, link->send_iov, iovs, sent);
}

void nbd_link_submit(struct nbd_link *link, struct nbd_command *c)
{
    assert(nbd_link_room(link));
    uint16_t slot = link->free_slots[link->slot_count - link->in_flight - 1];
    link->in_flight++;
    link->slots[slot] = c;
    c->cookie = ++link->serial << SLOT_BITS | slot;
    c->begun = c->sent = c->answered = c->described = c->suspect = false;
    c->described_bytes = 0;
    c->result = 0;
    c->extent_count = 0;
    c->coverage = (struct nbd_coverage){0};
    TAILQ_INSERT_TAIL(&link->queued, c, entry);
    loop_defer_late(link->loop, &link->send_job);
}

void nbd_link_leave(struct nbd_link *link)
{
    if (link->broken || link->leaving)
        return;
    link->leaving = true;
    loop_defer_late(link->loop, &link->send_job);
}

/* ---- beginning ---- */

void nbd_link_start(struct nbd_link *link, struct nbd_wire *wire, const struct nbd_offer *offer, uint8_t *buffer,
                    void (*broke)(struct nbd_link *link))
{
    assert(!link->in_flight);
    wire->user = link;
    link->wire = wire;
    link->offer = offer;
    link->broke = broke;
    link->broken = link->leaving = link->farewell = false;
    link->limit = (struct log_limit){.burst = 5, .interval_ms = 10000};
    link->err = (struct err){0};
    link->partial = NULL;
    link->send_job.run = send_queued;
    nbd_receive_start(link, buffer);
}
