/* What a disk lies on moves while its guest runs (hv/guest_move.c): one that begins, and new places that will not do,
 * which must leave everything as it was: the guest runs, the volume has all its members, and the next move begins. */
#include "tests/unit/guest_life.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nbd/blk.h"
#include "node/base/buffer_pool.h"
#include "replication/journal_record.h"
#include "replication/member_create.h"
#include "replication/volume.h"
#include "tests/unit/scripted_engine.h"

enum {
    MEMBERS = 2,
    WITNESS_BYTES = 128 << 10,
    FIRMWARE_BYTES = 128 << 10,
    REGION_BYTES = 256 << 10,
    MEMBER_BYTES = 8 * REGION_BYTES
};

#define BASIC "\"memory\":\"32M\",\"firmware\":\"$/bios\",\"control\":\"unix:$/control\",\"connects\":true"
#define NOBODY "[{\"driver\":\"nbd\",\"uri\":\"nbd://127.0.0.1:1/nothing\"}]" /* whose connections are refused */

static char names[MEMBERS + 2][96]; /* the last one's is the witness */

static void make_file(struct guest_life *l, char *name, const char *file, uint64_t bytes)
{
    snprintf(name, sizeof names[0], "%s", guest_life_path(l, file));
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    close(fd);
}

static void make_member(const struct blk_env *env, const struct superblock *sb, const char *name)
{
    struct err err = {0};
    char stack[128];
    struct blk *blk;
    snprintf(stack, sizeof stack, "raw:%s", name);
    if (blk_open(env, stack, 0, &blk, &err) || member_create(blk, sb, false, &err))
        fail_msg("%s", err.text);
    blk_close(blk);
}

/* And a file as large as one. */
static void make_members(struct guest_life *l)
{
    struct err err = {0};
    struct superblock sb = {.geometry = {LAYOUT_RAID1, MEMBERS, 16384, REGION_BYTES, MEMBER_BYTES, 0},
                            .has_witness = true};
    struct blk_env env = {.loop = loop_new(&err), .buffers = buffer_pool_new(8 << 20)};
    env.worker = worker_new(env.loop, 1, &err);
    sb.journal_bytes = journal_preset_bytes(&sb.geometry);
    memcpy(sb.volume, "a volume of test", UUID_BYTES);
    for (sb.index = 0; sb.index <= MEMBERS; sb.index++) {
        char file[16];
        snprintf(file, sizeof file, "member%u", sb.index);
        make_file(l, names[sb.index], file, member_create_bytes(&sb.geometry, sb.journal_bytes));
        if (sb.index < MEMBERS)
            make_member(&env, &sb, names[sb.index]);
    }
    make_file(l, names[MEMBERS + 1], "witness", WITNESS_BYTES);
    worker_free(env.worker);
    buffer_pool_free(env.buffers);
    loop_free(env.loop);
}

static void start(struct guest_life *l, const char *stack)
{
    char json[1024];
    snprintf(json, sizeof json, "{" BASIC ",\"disks\":[{\"stack\":%s}]}", stack);
    guest_life_firmware(l, "bios", FIRMWARE_BYTES);
    if (!guest_life_start(l, json))
        fail_msg("%s", l->err.text);
}

/* With a witness: one member may serve without the other, so one that is missing is no error. */
static void start_volume(struct guest_life *l)
{
    make_members(l);
    start(l, "[{\"driver\":\"volume\",\"layout\":\"raid1\",\"tick\":\"0.01\",\"members\":["
             "[{\"driver\":\"raw\",\"file\":\"$/member0\"}],[{\"driver\":\"raw\",\"file\":\"$/member1\"}]],"
             "\"witness\":\"raw:$/witness\"}]");
}

static int ask(struct guest_life *l, const char *verb, const char *more)
{
    char body[512];
    snprintf(body, sizeof body, "{\"disk\":0,\"verb\":\"move-%s\"%s}", verb, more);
    return guest_life_ask(l, CONTROL_VOLUME, body, -1);
}

static const char *stats(struct guest_life *l)
{
    assert_int_equal(guest_life_ask(l, CONTROL_STATS, "{}", -1), CONTROL_OK);
    return l->message.body;
}

static bool all_in_sync(struct guest_life *l)
{
    const char *first = strstr(stats(l), "\"in-sync\"");
    return first && strstr(first + 1, "\"in-sync\"");
}

static void expect_refusal(struct guest_life *l, const char *more, int error, const char *text)
{
    char code[32];
    snprintf(code, sizeof code, "\"code\":%d,", error);
    assert_int_equal(ask(l, "begin", more), CONTROL_ERROR);
    if (!strstr(l->message.body, text) || !strstr(l->message.body, code))
        fail_msg("%s says neither %s nor %s", l->message.body, code, text);
    assert_null(strstr(stats(l), "\"move\":"));
    guest_life_until(l, GUEST_RUNNING);
}

static void until_phase(struct guest_life *l, const char *phase)
{
    char text[64];
    snprintf(text, sizeof text, "\"phase\":\"%s\"", phase);
    while (!strstr(stats(l), text))
        usleep(1000);
}

static void moves(struct guest_life *l, const char *more)
{
    assert_int_equal(ask(l, "begin", more), CONTROL_OK);
    until_phase(l, "synced");
    assert_int_equal(ask(l, "settle", ""), CONTROL_OK);
    assert_int_equal(ask(l, "end", ",\"there\":true"), CONTROL_OK);
    assert_null(strstr(stats(l), "\"move\":"));
}

static void test_plain(void **state)
{
    struct guest_life *l = *state;
    start(l, "\"mem:1M\"");
    expect_refusal(l, ",\"to\":" NOBODY, ECONNREFUSED, "refused");
    expect_refusal(l, ",\"to\":[{\"driver\":\"mem\",\"size\":\"2M\"}]", EINVAL, "2097152 bytes");
    moves(l, ",\"to\":[{\"driver\":\"mem\",\"size\":\"1M\"}]");
    assert_int_equal(ask(l, "end", ",\"there\":true"), CONTROL_OK); /* it was told so before */
}

/* A volume does without a member that cannot be opened: that is no way to begin. */
static void test_member(void **state)
{
    struct guest_life *l = *state;
    char more[256];
    start_volume(l);
    expect_refusal(l, ",\"member\":0,\"to\":" NOBODY, ECONNREFUSED, "refused");
    assert_true(all_in_sync(l));
    snprintf(more, sizeof more, ",\"member\":0,\"to\":[{\"driver\":\"raw\",\"file\":\"%s\"}]", names[MEMBERS]);
    moves(l, more);
    assert_true(all_in_sync(l));
}

/* One that can be opened, and not together with the old one: larger blocks. */
static void test_unfit_member(void **state)
{
    struct guest_life *l = *state;
    char more[256];
    start_volume(l);
    snprintf(more, sizeof more, ",\"member\":0,\"to\":[{\"driver\":\"raw\",\"file\":\"%s\",\"direct\":true}]",
             names[MEMBERS]);
    expect_refusal(l, more, EIO, "together with its new place");
    while (!all_in_sync(l))
        usleep(1000);
    snprintf(more, sizeof more, ",\"member\":0,\"to\":[{\"driver\":\"raw\",\"file\":\"%s\"}]", names[MEMBERS]);
    moves(l, more);
}

int main(void)
{
    scripted_begin(VCPU_MAX);
    replication_drivers_register();
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_life_setup, guest_life_teardown)
    const struct CMUnitTest tests[] = {TEST(test_plain), TEST(test_member), TEST(test_unfit_member)};
    return cmocka_run_group_tests_name("guest_move", tests, NULL, NULL);
}
