#include "tests/unit/volume_lab.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/base/err.h"
#include "node/base/loop.h"
#include "replication/journal_record.h"
#include "replication/member_create.h"

int lab_setup(void **state)
{
    static bool registered;
    int rc = fixture_setup(state);
    if (!registered)
        replication_drivers_register();
    registered = true;
    return rc;
}

void lab_make_member(struct lab *lab, unsigned i, bool fresh)
{
    struct err err = {0};
    struct superblock sb = {
        .geometry = lab->g, .index = i, .has_witness = lab->witness, .journal_bytes = lab->journal_bytes};
    memcpy(sb.volume, "a volume of test", UUID_BYTES);
    char stack[256];
    snprintf(stack, sizeof stack, "raw:%s", lab->files[i]);
    fixture_open(lab->f, stack, 0);
    if (member_create(lab->f->blk, &sb, fresh, &err))
        fail_msg("%s", err.text);
    fixture_close(lab->f);
}

const char *lab_stack(struct lab *lab, member_set missing, const char *extra)
{
    char *at = lab->stack, *end = at + sizeof lab->stack;
    at += snprintf(at, (size_t)(end - at), "{\"driver\":\"volume\",\"layout\":\"%s\",\"tick\":\"0.01\",\"members\":[",
                   layout_name(lab->g.layout));
    for (unsigned i = 0; i < lab->g.members; i++)
        at += snprintf(at, (size_t)(end - at), "%s\"%s%s\"", i ? "," : "",
                       missing >> i & 1 ? "missing" : "raw:", missing >> i & 1 ? "" : lab->files[i]);
    at += snprintf(at, (size_t)(end - at), "]%s", extra ? extra : "");
    if (lab->witness)
        at += snprintf(at, (size_t)(end - at), ",\"witness\":\"raw:%s\"", lab->witness);
    snprintf(at, (size_t)(end - at), "}");
    return lab->stack;
}

static void lab_fill(struct lab *lab, bool witness)
{
    lab->journal_bytes = journal_preset_bytes(&lab->g);
    superblock_places(&lab->g, lab->journal_bytes, &lab->places);
    if (witness)
        lab->witness = fixture_file(lab->f, 128 << 10);
    for (unsigned i = 0; i < lab->g.members; i++) {
        lab->files[i] = fixture_file(lab->f, lab->places.end);
        lab_make_member(lab, i, false);
    }
}

void lab_make(struct lab *lab, struct fixture *f, enum layout layout, unsigned members, bool witness)
{
    memset(lab, 0, sizeof *lab);
    lab->f = f;
    lab->g = (struct geometry){layout, members, 16384, LAB_REGION, LAB_MEMBER, 0};
    lab_fill(lab, witness);
}

void lab_make_with_room(struct lab *lab, struct fixture *f, enum layout layout, unsigned members, bool witness)
{
    memset(lab, 0, sizeof *lab);
    lab->f = f;
    lab->g = (struct geometry){layout, members, 16384, LAB_REGION, LAB_MEMBER, LAB_ROOM};
    lab_fill(lab, witness);
}

void lab_write(struct lab *lab, uint64_t offset, uint32_t length, uint32_t seed)
{
    uint8_t *data = malloc(length);
    fixture_pattern(data, offset, length, seed);
    assert_int_equal(fixture_io(lab->f, BLK_WRITE, 0, offset, data, length), 0);
    free(data);
}

void lab_expect(struct lab *lab, uint64_t offset, uint32_t length, uint32_t seed)
{
    uint8_t *data = malloc(length), *want = malloc(length);
    fixture_pattern(want, offset, length, seed);
    memset(data, 0xee, length);
    assert_int_equal(fixture_io(lab->f, BLK_READ, 0, offset, data, length), 0);
    assert_memory_equal(data, want, length);
    free(data);
    free(want);
}

void lab_damage(const struct lab *lab, unsigned member, uint64_t offset, size_t length)
{
    int fd = open(lab->files[member], O_RDWR);
    uint8_t byte;
    for (size_t i = 0; i < length; i += 512) {
        assert_int_equal(pread(fd, &byte, 1, (off_t)(offset + i)), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)(offset + i)), 1);
    }
    close(fd);
}

bool lab_same_data(const struct lab *lab, unsigned a, unsigned b)
{
    uint8_t *x = malloc(LAB_MEMBER), *y = malloc(LAB_MEMBER);
    int fd = open(lab->files[a], O_RDONLY), fe = open(lab->files[b], O_RDONLY);
    assert_int_equal(pread(fd, x, LAB_MEMBER, (off_t)lab->places.data), LAB_MEMBER);
    assert_int_equal(pread(fe, y, LAB_MEMBER, (off_t)lab->places.data), LAB_MEMBER);
    bool same = memcmp(x, y, LAB_MEMBER) == 0;
    close(fd);
    close(fe);
    free(x);
    free(y);
    return same;
}

struct volume_status lab_status(struct lab *lab)
{
    struct volume_status s;
    volume_status(volume_in(lab->f->blk), &s);
    return s;
}

void lab_until_in_sync(struct lab *lab, unsigned member)
{
    while (lab_status(lab).members[member].state != MEMBER_IN_SYNC)
        loop_step(lab->f->env.loop);
}

void lab_pread(const struct lab *lab, unsigned member, void *data, size_t length, uint64_t offset)
{
    int fd = open(lab->files[member], O_RDONLY);
    assert_int_equal(pread(fd, data, length, (off_t)offset), length);
    close(fd);
}

void lab_pwrite(const struct lab *lab, unsigned member, const void *data, size_t length, uint64_t offset)
{
    int fd = open(lab->files[member], O_RDWR);
    assert_int_equal(pwrite(fd, data, length, (off_t)offset), length);
    close(fd);
}

struct scrubbed {
    bool done;
    int result;
};

static void scrub_done(void *context, int result)
{
    struct scrubbed *s = context;
    s->done = true;
    s->result = result;
}

int lab_scrub(struct lab *lab)
{
    struct scrubbed s = {false, 0};
    assert_int_equal(volume_scrub(volume_in(lab->f->blk), scrub_done, &s), 0);
    assert_int_equal(volume_scrub(volume_in(lab->f->blk), scrub_done, &s), -EALREADY);
    while (!s.done)
        loop_step(lab->f->env.loop);
    return s.result;
}
