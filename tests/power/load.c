#include "tests/power/load.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "nbd/nbd_proto.h"
#include "tests/power/history.h"
#include "tests/power/stamp.h"

enum { REQUEST_MAX_SECTORS = 128, HOT_SECTORS = 256, PATIENCE_MS = 60000 };

struct wish {
    enum history_op op;
    bool fua, no_hole;
    uint32_t first, count;
};

int load_init(struct load *load, struct history *history, const char *socket_path, uint32_t align_sectors,
              uint64_t seed)
{
    *load = (struct load){
        .history = history,
        .socket_path = socket_path,
        .align_sectors = align_sectors,
        .dice = {seed},
        .payload = malloc(REQUEST_MAX_SECTORS * SECTOR_BYTES),
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .answered = PTHREAD_COND_INITIALIZER,
    };
    for (int i = 0; i < LOAD_CLIENTS; i++)
        load->clients[i].fd = -1;
    return load->payload ? 0 : -ENOMEM;
}

void load_fini(struct load *load)
{
    free(load->payload);
    pthread_mutex_destroy(&load->lock);
    pthread_cond_destroy(&load->answered);
}

/* ---- replies ---- */

static void fail(struct load *load, int rc)
{
    pthread_mutex_lock(&load->lock);
    if (!load->failed)
        load->failed = rc;
    pthread_cond_broadcast(&load->answered);
    pthread_mutex_unlock(&load->lock);
}

/* False: this connection is over. */
static bool take_reply(struct load *load, int i)
{
    uint64_t cookie = 0;
    uint32_t error = 0;
    int rc = client_receive(load->clients + i, &cookie, &error);
    if (rc == 0)
        return true;
    if (rc < 0) {
        if (rc != -EPIPE)
            fail(load, rc);
        return false;
    }
    if (error) {
        fprintf(stderr, "request %llu: the server says error %u\n", (unsigned long long)cookie, error);
        fail(load, -EIO);
        return true;
    }
    history_add_ack(load->history, (uint32_t)cookie);
    pthread_mutex_lock(&load->lock);
    load->in_flight[i]--;
    pthread_cond_broadcast(&load->answered);
    pthread_mutex_unlock(&load->lock);
    return true;
}

static void *receive(void *context)
{
    struct load *load = context;
    struct pollfd polls[LOAD_CLIENTS];
    int open = LOAD_CLIENTS;
    for (int i = 0; i < LOAD_CLIENTS; i++)
        polls[i] = (struct pollfd){.fd = load->clients[i].fd, .events = POLLIN};
    while (open) {
        if (poll(polls, LOAD_CLIENTS, PATIENCE_MS) == 0) {
            fprintf(stderr, "no reply for %d seconds\n", PATIENCE_MS / 1000);
            fail(load, -ETIMEDOUT);
            break;
        }
        for (int i = 0; i < LOAD_CLIENTS; i++) {
            if (polls[i].fd < 0 || !polls[i].revents || take_reply(load, i))
                continue;
            polls[i].fd = -1;
            open--;
        }
    }
    pthread_mutex_lock(&load->lock);
    load->lost = true;
    pthread_cond_broadcast(&load->answered);
    pthread_mutex_unlock(&load->lock);
    return NULL;
}

/* ---- requests ---- */

static uint32_t pick_count(struct load *load)
{
    uint32_t most = REQUEST_MAX_SECTORS / load->align_sectors;
    if (dice_percent(&load->dice, 60) && most > 8)
        most = 8; /* few sectors: many requests a sector */
    return (1 + dice_roll(&load->dice, most)) * load->align_sectors;
}

/* A third of the requests meet in a corner of the disk. */
static void pick_range(struct load *load, struct wish *wish)
{
    uint32_t all = dice_percent(&load->dice, 33) ? HOT_SECTORS : load->history->sector_count;
    wish->count = pick_count(load);
    wish->first = dice_roll(&load->dice, (all - wish->count) / load->align_sectors + 1) * load->align_sectors;
}

static struct wish pick(struct load *load)
{
    uint32_t roll = dice_roll(&load->dice, 100);
    struct wish wish = {.op = roll < 60   ? HISTORY_WRITE
                              : roll < 76 ? HISTORY_ZERO
                              : roll < 86 ? HISTORY_TRIM
                                          : HISTORY_FLUSH};
    if (wish.op == HISTORY_FLUSH)
        return wish;
    pick_range(load, &wish);
    wish.fua = dice_percent(&load->dice, 20);
    wish.no_hole = wish.op == HISTORY_ZERO && dice_percent(&load->dice, 50);
    return wish;
}

static int send_wish(struct load *load, int i, const struct wish *wish)
{
    static const uint16_t types[] = {NBD_CMD_WRITE, NBD_CMD_WRITE_ZEROES, NBD_CMD_TRIM, NBD_CMD_FLUSH};
    uint32_t id = ++load->last_id;
    struct client_request request = {
        .type = types[wish->op],
        .flags = (uint16_t)((wish->fua ? NBD_CMD_FLAG_FUA : 0) | (wish->no_hole ? NBD_CMD_FLAG_NO_HOLE : 0)),
        .cookie = id,
        .offset = (uint64_t)wish->first * SECTOR_BYTES,
        .length = wish->count * SECTOR_BYTES,
        .payload = wish->op == HISTORY_WRITE ? load->payload : NULL,
    };
    for (uint32_t s = 0; request.payload && s < wish->count; s++)
        stamp_write(load->payload + (size_t)s * SECTOR_BYTES, wish->first + s, id);
    pthread_mutex_lock(&load->lock);
    load->in_flight[i]++;
    pthread_mutex_unlock(&load->lock);
    history_add_issue(load->history, id, wish->op, wish->fua, wish->first, wish->count);
    return client_send(load->clients + i, &request);
}

/* Under the lock: 0, or why there is no point in waiting. */
static int standing(const struct load *load)
{
    return load->failed ? load->failed : load->lost ? -EPIPE : 0;
}

static unsigned in_flight(const struct load *load)
{
    unsigned sum = 0;
    for (int i = 0; i < LOAD_CLIENTS; i++)
        sum += load->in_flight[i];
    return sum;
}

/* A connection that may send, picked at random; waits until there is one. */
static int pick_client(struct load *load, int *picked)
{
    int start = (int)dice_roll(&load->dice, LOAD_CLIENTS), rc;
    pthread_mutex_lock(&load->lock);
    while (!(rc = standing(load)) && in_flight(load) == LOAD_CLIENTS * LOAD_IN_FLIGHT_MAX)
        pthread_cond_wait(&load->answered, &load->lock);
    for (int i = 0; i < LOAD_CLIENTS; i++) {
        *picked = (start + i) % LOAD_CLIENTS;
        if (load->in_flight[*picked] < LOAD_IN_FLIGHT_MAX)
            break;
    }
    pthread_mutex_unlock(&load->lock);
    return rc;
}

int load_run(struct load *load, uint32_t count)
{
    int rc = 0;
    for (uint32_t n = 0; n < count && !rc; n++) {
        int i = 0;
        if (dice_percent(&load->dice, 2)) /* now and then nothing is left to flush */
            rc = load_settle(load);
        struct wish wish = pick(load);
        if (!rc)
            rc = pick_client(load, &i);
        if (!rc)
            rc = send_wish(load, i, &wish);
    }
    return rc;
}

int load_settle(struct load *load)
{
    int rc;
    pthread_mutex_lock(&load->lock);
    while (!(rc = standing(load)) && in_flight(load))
        pthread_cond_wait(&load->answered, &load->lock);
    pthread_mutex_unlock(&load->lock);
    return rc;
}

/* ---- connections ---- */

static int check_promises(const struct client *client)
{
    uint16_t wanted = NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES |
                      NBD_FLAG_CAN_MULTI_CONN;
    if ((client->flags & wanted) == wanted)
        return 0;
    fprintf(stderr, "the server offers flags %#x, not all of %#x\n", client->flags, wanted);
    return -EOPNOTSUPP;
}

int load_join(struct load *load, const struct client *first)
{
    history_add_start(load->history);
    memset(load->in_flight, 0, sizeof load->in_flight);
    load->lost = false;
    load->clients[0] = *first;
    int rc = check_promises(first);
    for (int i = 1; i < LOAD_CLIENTS && !rc; i++)
        rc = client_connect(load->clients + i, load->socket_path);
    if (!rc)
        rc = -pthread_create(&load->receiver, NULL, receive, load);
    load->receiving = !rc;
    return rc;
}

int load_leave(struct load *load)
{
    for (int i = 0; i < LOAD_CLIENTS; i++)
        if (load->clients[i].fd >= 0)
            shutdown(load->clients[i].fd, SHUT_WR);
    if (load->receiving)
        pthread_join(load->receiver, NULL);
    load->receiving = false;
    for (int i = 0; i < LOAD_CLIENTS; i++)
        client_close(load->clients + i);
    return load->failed;
}
