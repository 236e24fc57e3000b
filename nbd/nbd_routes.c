/* See nbd_routes.h.
 *
 *            first one up                last change answered
 *     LOST ---------------> REPLAYING ------------------------> LIVE
 *      ^ ^                    |                                  |
 *      | '---connection lost--'          last live one lost      |
 *      '---------------------------------------------------------'          (any --leave--> ENDING)
 *
 * A route:   DOWN --up, routes LOST--> REPLAYING --> LIVE
 *              '----up, otherwise----> PARKED --probe sent--> PROVING --probe answered--> LIVE
 *                                        ^--- probe lost -------'
 *            (all: --down--> DOWN, and a new attempt after delay_ns: 50 ms, doubled up to 5 s,
 * reset by an answer)
 *
 * Replay: changes go out in the order of their acknowledgement. Several may be on their way, but
 * never two that overlap, so that an older one cannot win. One that a younger durable one covers as
 * a whole is left out: should we fall before that one is done again, too, whoever has the disk next
 * is to find what was durable. Nothing else is sent meanwhile: a request that was in flight when the
 * server was lost is younger than, or concurrent with, every change in the log, and follows. */
#include "nbd/nbd_routes.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"

static const uint64_t delay_min_ns = 50000000, delay_max_ns = 5000000000;

static struct nbd_route *route_of(struct nbd_session *session)
{
    return CONTAINER_OF(session, struct nbd_route, session);
}

static bool usable(const struct nbd_route *route)
{
    return route->role == ROUTE_LIVE && nbd_link_room(&route->session.link);
}

struct nbd_link *nbd_routes_pick(struct nbd_routes *routes)
{
    struct nbd_link *best = NULL;
    if (routes->state != ROUTES_LIVE)
        return NULL;
    for (unsigned i = 0; i < routes->count; i++) {
        struct nbd_link *link = &routes->route[i].session.link;
        if (usable(&routes->route[i]) && (!best || link->in_flight < best->in_flight))
            best = link;
    }
    return best;
}

/* ---- proof ---- */

static void probe_done(struct nbd_command *command);
static void probe_ended(struct nbd_routes *routes, enum nbd_route_role role);

static void prove(struct nbd_routes *routes)
{
    struct nbd_link *link = routes->unproven ? nbd_routes_pick(routes) : NULL;
    if (!link || routes->probing)
        return; /* comes back when there is room, or the probe's end */
    uint64_t block = routes->offer.min_block ? routes->offer.min_block : 512;
    bool wanted = false;
    routes->unproven = false;
    for (unsigned i = 0; i < routes->count; i++) {
        if (routes->route[i].role == ROUTE_PARKED) {
            routes->route[i].role = ROUTE_PROVING;
            wanted = true;
        }
    }
    if (!wanted)
        return;
    if (routes->size_bytes < block) {
        probe_ended(routes, ROUTE_LIVE); /* nothing to read, and nothing that could be lost */
        return;
    }
    routes->probe_iov = (struct iovec){routes->probe_data, block};
    routes->probe = (struct nbd_command){
        .type = NBD_CMD_READ,
        .length_bytes = block,
        .iov = &routes->probe_iov,
        .iov_count = 1,
        .done = probe_done,
    };
    routes->probing = true;
    nbd_link_submit(link, &routes->probe);
}

static void probe_ended(struct nbd_routes *routes, enum nbd_route_role role)
{
    routes->probing = false;
    for (unsigned i = 0; i < routes->count; i++) {
        if (routes->route[i].role != ROUTE_PROVING)
            continue;
        routes->route[i].role = role;
        routes->live += role == ROUTE_LIVE;
        routes->unproven |= role == ROUTE_PARKED;
    }
    prove(routes);
}

static void probe_done(struct nbd_command *command)
{
    struct nbd_routes *routes = CONTAINER_OF(command, struct nbd_routes, probe);
    probe_ended(routes, ROUTE_LIVE); /* any answer proves that the server is still the same */
    routes->changed(routes);
}

void nbd_routes_progress(struct nbd_link *link)
{
    struct nbd_route *route = route_of(CONTAINER_OF(link, struct nbd_session, link));
    route->delay_ns = delay_min_ns;
    if (route->routes->unproven)
        prove(route->routes);
}

/* ---- replay ---- */

static void go_live(struct nbd_route *route)
{
    struct nbd_routes *routes = route->routes;
    route->role = ROUTE_LIVE;
    routes->live = 1;
    routes->replay_on = NULL;
    routes->state = ROUTES_LIVE;
    nbd_unflushed_survey_end(&routes->log);
    if (routes->replayed)
        log_info("nbd: %s: did %u changes again that the server might have lost", routes->name, routes->replayed);
    prove(routes);
    routes->changed(routes);
}

static bool overlaps_one_in_flight(const struct nbd_routes *routes, const struct nbd_change *change)
{
    for (unsigned i = 0; i < NBD_REPLAYS_MAX; i++) {
        const struct nbd_command *c = &routes->replay[i].command;
        if (routes->replay[i].busy && c->offset < change->offset + change->length_bytes &&
            change->offset < c->offset + c->length_bytes)
            return true;
    }
    return false;
}

static struct nbd_replay *idle_replay(struct nbd_routes *routes)
{
    for (unsigned i = 0; i < NBD_REPLAYS_MAX; i++)
        if (!routes->replay[i].busy)
            return &routes->replay[i];
    return NULL;
}

static void replay_done(struct nbd_command *command);

/* What was durable when it was acknowledged is that again: something older may have been done over it just before. */
static uint16_t durable_by(const struct nbd_link *link)
{
    return link->offer->flags & NBD_FLAG_SEND_FUA ? NBD_CMD_FLAG_FUA : 0;
}

static void replay_more(struct nbd_routes *routes)
{
    struct nbd_link *link = &routes->replay_on->session.link;
    struct nbd_replay *replay;
    while (nbd_link_room(link) && (replay = idle_replay(routes))) {
        struct nbd_change change;
        uint64_t place = routes->replay_place;
        int count;
        if (!nbd_unflushed_next(&routes->log, &place, &change, replay->data, &count))
            break;
        bool covered = nbd_unflushed_covered(&routes->log, &change);
        if (!covered && overlaps_one_in_flight(routes, &change))
            break;
        routes->replay_place = place;
        if (covered)
            continue;
        routes->replays++;
        replay->busy = true;
        replay->routes = routes;
        replay->command = (struct nbd_command){
            .type = change.type,
            .flags = (uint16_t)(change.flags | (change.durable ? durable_by(link) : 0)),
            .offset = change.offset,
            .length_bytes = change.length_bytes,
            .iov = replay->data,
            .iov_count = count,
            .done = replay_done,
        };
        nbd_link_submit(link, &replay->command);
    }
    if (!routes->replays && !link->broken)
        go_live(routes->replay_on);
}

static void replay_done(struct nbd_command *command)
{
    struct nbd_replay *replay = CONTAINER_OF(command, struct nbd_replay, command);
    struct nbd_routes *routes = replay->routes;
    replay->busy = false;
    routes->replays--;
    if (command->result == -ESHUTDOWN) {
        nbd_link_break(&routes->replay_on->session.link, ESHUTDOWN, "the server is shutting down");
        return;
    }
    nbd_routes_progress(&routes->replay_on->session.link);
    routes->replayed++;
    if (command->result && command->type != NBD_CMD_TRIM) { /* what is trimmed may read as anything */
        log_limited(&routes->limit, LOG_LEVEL_ERROR, "nbd: %s: a %s could not be done again: %s", routes->name,
                    command->type == NBD_CMD_WRITE ? "write" : "zeroing", strerror(-command->result));
        routes->lossy = true;
    }
    replay_more(routes);
}

static void start_replay(struct nbd_route *route)
{
    struct nbd_routes *routes = route->routes;
    assert(!routes->replays);
    route->role = ROUTE_REPLAYING;
    routes->replay_on = route;
    routes->replay_place = routes->log.head;
    routes->replayed = 0;
    routes->state = ROUTES_REPLAYING;
    nbd_unflushed_survey(&routes->log);
    replay_more(routes);
}

/* ---- up ---- */

/* What a server that came back lacks, or NULL. */
static const char *lacking(const struct nbd_routes *routes, const struct nbd_offer *now)
{
    const struct nbd_offer *first = &routes->offer;
    const uint16_t needed = NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES |
                            NBD_FLAG_SEND_RESIZE | NBD_FLAG_SEND_CACHE | NBD_FLAG_SEND_FAST_ZERO;
    if (now->size_bytes < routes->size_bytes)
        return "the export has become smaller";
    if ((now->flags ^ first->flags) & NBD_FLAG_READ_ONLY)
        return "the export is writable no more, or was not before";
    if (first->flags & ~now->flags & needed)
        return "the server can do less than before";
    if (routes->count > 1 && !(now->flags & NBD_FLAG_CAN_MULTI_CONN))
        return "the server does not allow several connections any more";
    if ((now->min_block ? now->min_block : 1) > (first->min_block ? first->min_block : 1))
        return "the export's blocks have become larger";
    if (now->max_payload_bytes && now->max_payload_bytes < first->max_payload_bytes)
        return "the server's maximum payload has become smaller";
    if (!first->max_payload_bytes && now->max_payload_bytes && now->max_payload_bytes < NBD_MIN_MAX_PAYLOAD_BYTES)
        return "the server's maximum payload has become smaller";
    return NULL;
}

static void up(struct nbd_session *session)
{
    struct nbd_route *route = route_of(session);
    struct nbd_routes *routes = route->routes;
    const char *missing = routes->has_offer ? lacking(routes, &session->offer) : NULL;
    if (missing) {
        nbd_session_end(session, EPROTO, "not the same export: %s", missing);
        return;
    }
    if (!routes->has_offer) {
        routes->has_offer = true;
        routes->offer = session->offer;
        routes->size_bytes = session->offer.size_bytes;
    }
    if (routes->state == ROUTES_LOST) {
        start_replay(route);
        return;
    }
    route->role = ROUTE_PARKED;
    routes->unproven = true;
    prove(routes);
}

/* ---- down ---- */

static void take_back(struct nbd_route *route)
{
    struct nbd_routes *routes = route->routes;
    struct nbd_command *command;
    while ((command = nbd_link_recover(&route->session.link))) {
        if (command == &routes->probe) {
            probe_ended(routes, ROUTE_PARKED);
        } else if (command->done == replay_done) {
            CONTAINER_OF(command, struct nbd_replay, command)->busy = false;
            routes->replays--;
        } else {
            routes->returned(routes, command);
        }
    }
}

static void lose(struct nbd_routes *routes)
{
    routes->state = ROUTES_LOST;
    routes->losses++;
    routes->replay_on = NULL;
    if (nbd_unflushed_loss(&routes->log)) {
        routes->lossy = true;
        log_error("nbd: %s: the server was lost, and writes since the last flush may be lost with "
                  "it: the next flush "
                  "will say so",
                  routes->name);
    }
    for (unsigned i = 0; i < routes->count; i++) {
        if (routes->route[i].role == ROUTE_PARKED) {
            start_replay(&routes->route[i]);
            return;
        }
    }
}

static void down(struct nbd_session *session)
{
    struct nbd_route *route = route_of(session);
    struct nbd_routes *routes = route->routes;
    enum nbd_route_role role = route->role;
    routes->err = session->err;
    route->role = ROUTE_DOWN;
    routes->live -= role == ROUTE_LIVE;
    take_back(route);
    if (routes->state == ROUTES_ENDING)
        return;
    if (routes->has_offer) {
        log_limited(&routes->limit, LOG_LEVEL_WARN, "nbd: %s: %s%s", routes->name,
                    role == ROUTE_DOWN ? "cannot connect: " : "connection lost: ", session->err.text);
        nbd_session_start(session, route->delay_ns);
        route->delay_ns = route->delay_ns * 2 < delay_max_ns ? route->delay_ns * 2 : delay_max_ns;
    }
    if ((routes->state == ROUTES_LIVE && !routes->live) || role == ROUTE_REPLAYING)
        lose(routes);
    routes->changed(routes);
}

/* ---- life ---- */

int nbd_routes_init(struct nbd_routes *routes, struct loop *loop, unsigned commands)
{
    routes->loop = loop;
    routes->limit = (struct log_limit){.burst = 10, .interval_ms = 10000};
    routes->state = ROUTES_LOST;
    routes->probe_data = malloc(NBD_PROBE_BYTES);
    bool good = routes->probe_data;
    for (unsigned i = 0; i < NBD_ROUTES_MAX; i++) {
        struct nbd_route *route = &routes->route[i];
        route->routes = routes;
        route->delay_ns = delay_min_ns;
        good &= !nbd_session_init(&route->session, loop, &routes->target, commands);
        route->session.up = up;
        route->session.down = down;
    }
    if (!good)
        nbd_routes_fini(routes);
    return good ? 0 : -ENOMEM;
}

void nbd_routes_fini(struct nbd_routes *routes)
{
    for (unsigned i = 0; i < NBD_ROUTES_MAX; i++)
        nbd_session_fini(&routes->route[i].session);
    free(routes->probe_data);
    routes->probe_data = NULL;
}

void nbd_routes_add(struct nbd_routes *routes)
{
    assert(routes->count < NBD_ROUTES_MAX);
    nbd_session_start(&routes->route[routes->count++].session, 0);
}

void nbd_routes_leave(struct nbd_routes *routes)
{
    routes->state = ROUTES_ENDING;
    for (unsigned i = 0; i < routes->count; i++)
        nbd_session_leave(&routes->route[i].session);
}

bool nbd_routes_idle(const struct nbd_routes *routes)
{
    for (unsigned i = 0; i < routes->count; i++)
        if (routes->route[i].session.state != SESSION_IDLE)
            return false;
    return true;
}
