/* The NBD client when connections break and servers die. */
#include "tests/unit/nbd_peer.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct peer *peer_of(void **state)
{
    return *state;
}

/* ---- loss ---- */

static void replays_unflushed_writes(void **state)
{
    struct peer *p = peer_of(state);
    peer_serve(p, "");
    assert_int_equal(peer_write(p, 0, 1, 0), 0);
    assert_int_equal(peer_flush(p), 0);
    assert_int_equal(peer_write(p, 4096, 2, 0), 0);
    assert_int_equal(peer_write(p, 4096, 3, 0), 0);
    assert_int_equal(peer_write(p, 16384, 4, 0), 0);
    assert_int_equal(fixture_io(p->f, BLK_ZERO, 0, 16384, NULL, 512), 0);
    fake_server_crash(p->server, -1);
    assert_int_equal(p->server->disk[4096], 0);
    peer_assert_reads(p, 4096, 3);
    peer_assert_reads(p, 0, 1);
    assert_int_equal(p->server->disk[16384], 0);
    assert_int_equal(p->server->disk[16384 + 512], 4);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_WRITE), 4 + 3);
    assert_int_equal(peer_flush(p), 0);
    fake_server_crash(p->server, -1);
    peer_assert_reads(p, 4096, 3);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_WRITE), 4 + 3); /* nothing was left to do again */
}

static void durable_writes_are_not_undone(void **state)
{
    struct peer *p = peer_of(state);
    peer_serve(p, "");
    assert_int_equal(peer_write(p, 0, 1, 0), 0);
    assert_int_equal(peer_write(p, 0, 2, BLK_FUA), 0);
    fake_server_crash(p->server, -1);
    peer_assert_reads(p, 0, 2);
}

/* lie: a byte that is not to be written to the beginning of the disk any more; left: how often it was. */
static enum fake_verdict no_older(struct fake_connection *c, const struct fake_request *r)
{
    if (r->type == NBD_CMD_WRITE && r->offset == 0 && c->server->lie)
        c->server->left += r->payload[0] == c->server->lie;
    return FAKE_HONEST;
}

/* Not even for a while: we may fall before all is done again. */
static void durable_writes_stay(void **state)
{
    struct peer *p = peer_of(state);
    static char wide[8192];
    p->server->hook = no_older;
    peer_serve(p, "");
    memset(wide, 5, sizeof wide);
    assert_int_equal(peer_write(p, 16384, 1, 0), 0);
    assert_int_equal(peer_write(p, 0, 2, BLK_FUA), 0);
    assert_int_equal(fixture_io(p->f, BLK_WRITE, 0, 32768, wide, sizeof wide), 0);
    assert_int_equal(peer_write(p, 32768, 6, BLK_FUA), 0); /* covers a part */
    assert_int_equal(peer_write(p, 0, 3, BLK_FUA), 0);
    assert_int_equal(peer_write(p, 0, 4, BLK_FUA), 0);
    assert_int_equal(peer_write(p, 32768, 7, 0), 0);
    fake_server_lock(p->server);
    p->server->lie = 2;
    fake_server_unlock(p->server);
    fake_server_crash(p->server, -1);
    peer_assert_reads(p, 0, 4);
    peer_assert_reads(p, 16384, 1);
    peer_assert_reads(p, 32768, 7);
    peer_assert_reads(p, 32768 + 4096, 5);
    assert_int_equal(p->server->left, 0);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_WRITE), 7 + 5); /* 2 and 3 are not done again */
}

static enum fake_verdict fail_zeroes(struct fake_connection *c, const struct fake_request *r)
{
    uint8_t reply[16];
    struct emit e = emit_to(reply, sizeof reply);
    if (r->type != NBD_CMD_WRITE_ZEROES || !c->server->left)
        return FAKE_HONEST;
    emit_u32(&e, NBD_SIMPLE_REPLY_MAGIC);
    emit_u32(&e, NBD_EIO);
    emit_u64(&e, r->cookie);
    fake_send(c, &e);
    return FAKE_ANSWERED;
}

static void zeroes_that_cannot_be_done_again_are_confessed_once(void **state)
{
    struct peer *p = peer_of(state);
    p->server->hook = fail_zeroes;
    peer_serve(p, "");
    assert_int_equal(peer_write(p, 0, 1, BLK_FUA), 0);
    assert_int_equal(fixture_io(p->f, BLK_ZERO, 0, 0, NULL, 4096), 0);
    fake_server_lock(p->server);
    p->server->left = 1;
    fake_server_unlock(p->server);
    fake_server_crash(p->server, -1);
    peer_assert_reads(p, 0, 1);
    assert_int_equal(peer_flush(p), -EIO);
    assert_int_equal(peer_flush(p), 0);
}

static void overflowing_log_is_confessed_once(void **state)
{
    struct peer *p = peer_of(state);
    peer_serve(p, "\"replay-log\":\"16K\"");
    for (int i = 0; i < 4; i++)
        assert_int_equal(peer_write(p, (uint64_t)i * 4096, 7, 0), 0);
    fake_server_crash(p->server, -1);
    peer_assert_reads(p, 0, 0);
    assert_int_equal(peer_write(p, 0, 8, 0), 0);
    assert_int_equal(peer_flush(p), -EIO);
    assert_int_equal(peer_flush(p), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(peer_write(p, (uint64_t)i * 4096, 9, 0), 0);
    assert_int_equal(peer_flush(p), 0);
    assert_int_equal(peer_write(p, 0, 10, 0), 0); /* fits again */
    fake_server_crash(p->server, -1);
    peer_assert_reads(p, 0, 10);
    peer_assert_reads(p, 3 * 4096, 9);
    assert_int_equal(peer_flush(p), 0);
}

static void no_log(void **state)
{
    struct peer *p = peer_of(state);
    peer_serve(p, "\"replay-log\":0");
    assert_int_equal(peer_write(p, 0, 1, 0), 0);
    assert_int_equal(peer_flush(p), 0);
    fake_server_crash(p->server, -1);
    peer_assert_reads(p, 0, 1);
    assert_int_equal(peer_flush(p), 0); /* nothing was lost */
    assert_int_equal(peer_write(p, 0, 2, 0), 0);
    fake_server_crash(p->server, -1);
    peer_assert_reads(p, 0, 1);
    assert_int_equal(peer_flush(p), -EIO);
    assert_int_equal(peer_flush(p), 0);
}

static enum fake_verdict cut_some(struct fake_connection *c, const struct fake_request *r)
{
    if (r->type != c->server->lie || !c->server->left)
        return FAKE_HONEST;
    c->server->left--;
    if (r->type == NBD_CMD_WRITE) /* it was done, but the client does not know */
        memcpy(c->server->disk + r->offset, r->payload, r->length);
    return FAKE_CUT;
}

static void requests_survive_cuts(void **state)
{
    struct peer *p = peer_of(state);
    static char b[16][4096];
    struct pending w[16];
    p->server->hook = cut_some;
    p->server->lie = NBD_CMD_WRITE;
    p->server->left = 5;
    peer_serve(p, "");
    for (unsigned i = 0; i < 16; i++) {
        memset(b[i], (int)i + 1, sizeof b[i]);
        peer_begin(p, &w[i], BLK_WRITE, i * 4096, b[i], sizeof b[i]);
    }
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(peer_end(p, &w[i]), 0);
    for (unsigned i = 0; i < 16; i++)
        peer_assert_reads(p, i * 4096, (int)i + 1);
    assert_int_equal(p->server->connected, 6);
}

static void flush_in_flight_at_a_loss(void **state)
{
    struct peer *p = peer_of(state);
    p->server->hook = cut_some;
    p->server->lie = NBD_CMD_FLUSH;
    p->server->left = 1;
    peer_serve(p, "");
    assert_int_equal(peer_write(p, 0, 1, 0), 0);
    assert_int_equal(peer_flush(p), 0);
    assert_int_equal(p->server->stable[0], 1);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_WRITE), 2);
}

static void fails_at_once_without_reconnect(void **state)
{
    struct peer *p = peer_of(state);
    p->server->hook = cut_some;
    p->server->lie = NBD_CMD_READ;
    p->server->left = 1;
    peer_serve(p, "\"reconnect\":0");
    char b[512];
    assert_int_equal(fixture_io(p->f, BLK_READ, 0, 0, b, 512), -ENOTCONN);
    /* it does connect again, though */
    while (fixture_io(p->f, BLK_READ, 0, 0, b, 512))
        peer_turn(p, 10);
    assert_int_equal(p->server->connected, 2);
}

static void gives_up_and_comes_back(void **state)
{
    struct peer *p = peer_of(state);
    char b[512];
    peer_serve(p, "\"reconnect\":\"200ms\"");
    assert_int_equal(peer_write(p, 0, 1, 0), 0);
    fake_server_leave(p->server);
    assert_int_equal(fixture_io(p->f, BLK_READ, 0, 0, b, 512), -ENOTCONN);
    assert_int_equal(fixture_io(p->f, BLK_FLUSH, 0, 0, NULL, 0), -ENOTCONN);
    memset(p->server->disk, 0, FAKE_DISK_BYTES);
    fake_server_listen(p->server);
    while (fixture_io(p->f, BLK_READ, 0, 0, b, 512))
        peer_turn(p, 10);
    assert_int_equal(b[0], 1); /* the log was kept for it */
    assert_int_equal(peer_flush(p), 0);
}

/* Having given up, and again before it would. */
static void made_patient_it_waits(void **state)
{
    struct peer *p = peer_of(state);
    struct pending w;
    char b[512];
    peer_serve(p, "\"reconnect\":\"100ms\"");
    fake_server_leave(p->server);
    assert_int_equal(fixture_io(p->f, BLK_READ, 0, 0, b, 512), -ENOTCONN);
    blk_make_patient(p->f->blk);
    peer_begin(p, &w, BLK_READ, 0, b, 512);
    peer_turn(p, 300);
    fake_server_listen(p->server);
    assert_int_equal(peer_end(p, &w), 0);
    fake_server_leave(p->server);
    peer_begin(p, &w, BLK_READ, 0, b, 512);
    peer_turn(p, 300);
    fake_server_listen(p->server);
    assert_int_equal(peer_end(p, &w), 0);
}

static void another_export_is_refused(void **state)
{
    struct peer *p = peer_of(state);
    char b[512];
    peer_serve(p, "\"reconnect\":\"300ms\"");
    assert_int_equal(fixture_io(p->f, BLK_READ, 0, 0, b, 512), 0);
    fake_server_lock(p->server);
    p->server->size_bytes = MIB / 2;
    fake_server_unlock(p->server);
    fake_server_crash(p->server, -1);
    assert_int_equal(fixture_io(p->f, BLK_READ, 0, 0, b, 512), -ENOTCONN);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_READ), 1);
    assert_true(p->server->connected > 1);
}

static void closes_politely(void **state)
{
    struct peer *p = peer_of(state);
    peer_serve(p, "");
    fixture_close(p->f);
    while (!fake_server_seen(p->server, NBD_CMD_DISC))
        usleep(1000);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_DISC), 1);
}

/* ---- several connections ---- */

/* Until each of the connections from `first` to `last` has served something: it is in use then. */
static void wait_in_use(struct peer *p, unsigned first, unsigned last)
{
    for (bool all = false; !all;) {
        struct pending w[8];
        char b[8][512];
        for (unsigned i = 0; i < 8; i++) /* enough at a time to go over every live connection */
            peer_begin(p, &w[i], BLK_READ, i * 512, b[i], 512);
        for (unsigned i = 0; i < 8; i++)
            assert_int_equal(peer_end(p, &w[i]), 0);
        fake_server_lock(p->server);
        all = p->server->connected > last;
        for (unsigned i = first; all && i <= last; i++)
            all = p->server->connections[i].served;
        fake_server_unlock(p->server);
    }
}

static void one_connection_if_the_server_says_so(void **state)
{
    struct peer *p = peer_of(state);
    peer_serve(p, "\"connections\":4");
    for (int i = 0; i < 20; i++)
        peer_assert_reads(p, 0, 0);
    assert_int_equal(p->server->connected, 1);
}

static void nothing_is_lost_while_one_lives(void **state)
{
    struct peer *p = peer_of(state);
    p->server->flags |= NBD_FLAG_CAN_MULTI_CONN;
    peer_serve(p, "\"connections\":3");
    wait_in_use(p, 0, 2);
    assert_int_equal(peer_write(p, 0, 1, 0), 0);
    fake_server_cut(p->server, 0);
    fake_server_cut(p->server, 1);
    peer_assert_reads(p, 0, 1);
    wait_in_use(p, 2, 4);
    peer_assert_reads(p, 0, 1);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_WRITE), 1); /* no replay */
    assert_int_equal(peer_flush(p), 0);
}

static enum fake_verdict second_is_mute(struct fake_connection *c, const struct fake_request *r)
{
    (void)r;
    return c->server->lie && c->number == (int)c->server->lie ? FAKE_MUTE : FAKE_HONEST;
}

/* The server dies and is back, but the client does not hear of it on one of its connections. */
static void a_silent_connection_proves_nothing(void **state)
{
    struct peer *p = peer_of(state);
    p->server->flags |= NBD_FLAG_CAN_MULTI_CONN;
    p->server->hook = second_is_mute;
    peer_serve(p, "\"connections\":2");
    wait_in_use(p, 0, 1);
    assert_int_equal(peer_write(p, 0, 1, 0), 0);
    fake_server_lock(p->server);
    p->server->lie = 1;
    fake_server_unlock(p->server);
    fake_server_crash(p->server, 1); /* connection 1 stays open, and mute */
    char b[512] = {0};
    struct pending read;
    peer_begin(p, &read, BLK_READ, 0, b, 512);
    unsigned connected = 0;
    while (connected < 3) {
        loop_step(p->f->env.loop);
        fake_server_lock(p->server);
        connected = p->server->connected;
        fake_server_unlock(p->server);
    }
    peer_turn(p, 300); /* time for a client that is wrong to read from the new connection */
    assert_false(read.done);
    fake_server_cut(p->server, 1);
    assert_int_equal(peer_end(p, &read), 0);
    assert_int_equal(b[0], 1); /* what the new server had forgotten was done again first */
    assert_int_equal(peer_flush(p), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PEER(replays_unflushed_writes),
        WITH_PEER(durable_writes_are_not_undone),
        WITH_PEER(durable_writes_stay),
        WITH_PEER(zeroes_that_cannot_be_done_again_are_confessed_once),
        WITH_PEER(overflowing_log_is_confessed_once),
        WITH_PEER(no_log),
        WITH_PEER(requests_survive_cuts),
        WITH_PEER(flush_in_flight_at_a_loss),
        WITH_PEER(fails_at_once_without_reconnect),
        WITH_PEER(gives_up_and_comes_back),
        WITH_PEER(made_patient_it_waits),
        WITH_PEER(another_export_is_refused),
        WITH_PEER(closes_politely),
        WITH_PEER(one_connection_if_the_server_says_so),
        WITH_PEER(nothing_is_lost_while_one_lives),
        WITH_PEER(a_silent_connection_proves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
