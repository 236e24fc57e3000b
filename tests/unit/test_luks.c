/* The driver: what it reads and writes is what its cipher says, whatever the sector size, the vector and the length;
 * and what it says it can do is so. */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/base/err.h"
#include "tests/unit/luks_disk.h"

enum { PAYLOAD = 512 << 10, DATA_BYTES = 4 << 20, KEY_BYTES = 64 };

struct made {
    const char *image, *key_file, *master_file;
    uint8_t master[KEY_BYTES];
};

static const char *file_with(struct fixture *f, const void *data, size_t len_bytes)
{
    const char *path = fixture_file(f, 0);
    int fd = open(path, O_WRONLY);
    assert_int_equal(write(fd, data, len_bytes), (ssize_t)len_bytes);
    close(fd);
    return path;
}

static struct made make(struct fixture *f, unsigned version, uint32_t sector_bytes)
{
    struct made m = {.key_file = file_with(f, "one", 3)};
    struct luks_disk disk;
    struct luks_volume v = {0};
    struct err err = {0};
    struct luks_key key = luks_disk_key("one"), master = {0};
    for (int i = 0; i < KEY_BYTES; i++)
        m.master[i] = (uint8_t)(i * 5 + 1);
    assert_int_equal(luks_key_new(KEY_BYTES, &master, &err), 0);
    memcpy(master.bytes, m.master, KEY_BYTES);
    luks_disk_init(&disk, (version == 1 ? 4 : 1) * PAYLOAD + DATA_BYTES);
    struct luks_format format = {.version = version,
                                 .key_bytes = KEY_BYTES,
                                 .sector_bytes = sector_bytes,
                                 .payload_offset = (version == 1 ? 4 : 1) * PAYLOAD,
                                 .volume_key = &master,
                                 .cost = luks_disk_cost,
                                 .digest_iterations = 1};
    if (luks_change_format(&disk.io, &format, &key, &v, &err))
        fail_msg("%s", err.text);
    m.image = file_with(f, disk.bytes, disk.io.size_bytes);
    m.master_file = file_with(f, m.master, KEY_BYTES);
    luks_volume_fini(&v);
    luks_key_fini(&key);
    luks_key_fini(&master);
    luks_disk_fini(&disk);
    return m;
}

static void open_made(struct fixture *f, const struct made *m, const char *more, const char *between)
{
    char stack[1024];
    snprintf(stack, sizeof stack,
             "[{\"driver\":\"luks\",\"key\":{\"file\":\"%s\"}%s},%s{\"driver\":\"raw\",\"file\":\"%s\"}]", m->key_file,
             more, between, m->image);
    fixture_open(f, stack, 0);
}

/* What must stand in the file, by the cipher alone. */
static void is_ciphered(const struct made *m, uint64_t payload, uint64_t offset, const uint8_t *plain, size_t len_bytes,
                        uint32_t sector_bytes)
{
    struct luks_cipher *cipher = NULL;
    uint8_t *found = malloc(len_bytes), *expected = malloc(len_bytes);
    int fd = open(m->image, O_RDONLY);
    struct iovec iov = {(void *)(uintptr_t)plain, len_bytes};
    assert_int_equal(pread(fd, found, len_bytes, (off_t)(payload + offset)), (ssize_t)len_bytes);
    assert_int_equal(luks_cipher_new(m->master, KEY_BYTES, sector_bytes, &cipher, NULL), 0);
    assert_int_equal(luks_cipher_encrypt(cipher, offset / 512, &iov, 1, 0, expected, len_bytes), 0);
    assert_memory_equal(found, expected, len_bytes);
    luks_cipher_free(cipher);
    free(found);
    free(expected);
    close(fd);
}

static void reads_what_it_wrote(void **state)
{
    struct fixture *f = *state;
    uint8_t *data = malloc(DATA_BYTES), *back = malloc(DATA_BYTES);
    for (uint32_t sector = 512; sector <= 4096; sector *= 2) {
        struct made m = make(f, 2, sector);
        open_made(f, &m, "", "");
        assert_int_equal(blk_size(f->blk), DATA_BYTES);
        assert_int_equal(blk_limits(f->blk)->align_bytes, sector);
        /* one sector; a part; a part and a sector; many parts; all */
        const uint64_t lengths[] = {sector, 256 << 10, (256 << 10) + sector, 3 << 20, DATA_BYTES};
        for (int i = 0; i < 5; i++) {
            uint64_t offset = i < 4 ? 8 * (uint64_t)sector : 0;
            fixture_pattern(data, offset, lengths[i], (uint32_t)i + 1);
            assert_int_equal(fixture_io(f, BLK_WRITE, i & 1 ? BLK_FUA : 0, offset, data, lengths[i]), 0);
            assert_int_equal(fixture_io(f, BLK_READ, 0, offset, back, lengths[i]), 0);
            assert_memory_equal(data, back, lengths[i]);
            is_ciphered(&m, PAYLOAD, offset, data, lengths[i], sector);
        }
        assert_int_equal(fixture_io(f, BLK_FLUSH, 0, 0, NULL, 0), 0);
        assert_int_equal(fixture_io(f, BLK_READ, 0, 0, back, 256), sector > 256 ? -EINVAL : 0);
        fixture_close(f);
    }
    free(data);
    free(back);
}

static void version_one(void **state)
{
    struct fixture *f = *state;
    struct made m = make(f, 1, 512);
    static uint8_t data[65536], back[65536];
    open_made(f, &m, "", "");
    fixture_pattern(data, 0, sizeof data, 9);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 4096, data, sizeof data), 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 4096, back, sizeof back), 0);
    assert_memory_equal(data, back, sizeof data);
    is_ciphered(&m, 4 * PAYLOAD, 4096, data, sizeof data, 512);
}

/* ---- vectors ---- */

struct vector_io {
    struct blk_req req;
    bool done;
};

static void vector_done(struct blk_req *req)
{
    ((struct vector_io *)(void *)req)->done = true;
}

static int vector_io(struct fixture *f, enum blk_op op, uint64_t offset, const struct iovec *iov, int count)
{
    struct vector_io v = {.req = {.op = op, .offset = offset, .iov = iov, .iov_count = count, .done = vector_done}};
    for (int i = 0; i < count; i++)
        v.req.length_bytes += iov[i].iov_len;
    blk_submit(f->blk, &v.req);
    while (!v.done)
        loop_step(f->env.loop);
    return v.req.result;
}

static void odd_vectors(void **state)
{
    struct fixture *f = *state;
    enum { LEN = 600 << 10 };
    static uint8_t data[LEN], back[LEN];
    struct made m = make(f, 2, 4096);
    struct iovec iov[4096];
    int count = 0;
    open_made(f, &m, "", "");
    fixture_pattern(data, 0, LEN, 3);
    for (size_t at = 0, n; at < LEN && count < 4096; at += n) {
        n = (size_t)(count * 37) % 9001 % (count % 5 ? 700 : 9001);
        n = n < LEN - at ? n : LEN - at;
        iov[count++] = (struct iovec){data + at, n};
    }
    assert_int_equal(vector_io(f, BLK_WRITE, 8192, iov, count), 0);
    is_ciphered(&m, PAYLOAD, 8192, data, LEN, 4096);
    for (int i = 0; i < count; i++)
        iov[i].iov_base = back + ((uint8_t *)iov[i].iov_base - data);
    assert_int_equal(vector_io(f, BLK_READ, 8192, iov, count), 0);
    assert_memory_equal(data, back, LEN);
}

/* ---- the other operations ---- */

static void zero_trim_extents(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[2 << 20], zeroes[2 << 20];
    struct made m = make(f, 2, 512);
    struct blk_extent e[8];
    uint32_t count = 0;
    open_made(f, &m, "", "");
    assert_true(blk_can(f->blk) & BLK_CAN_ZERO);
    assert_false(blk_can(f->blk) & BLK_CAN_FAST_ZERO);
    fixture_pattern(data, 0, sizeof data, 4);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 0, data, sizeof data), 0);
    assert_int_equal(fixture_io(f, BLK_ZERO, 0, 512, NULL, sizeof data - 1024), 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 512, data, sizeof data - 1024), 0);
    assert_memory_equal(data, zeroes, sizeof data - 1024);
    is_ciphered(&m, PAYLOAD, 512, zeroes, sizeof data - 1024, 512);
    assert_int_equal(fixture_io(f, BLK_ZERO, BLK_FAST, 0, NULL, 512), -EOPNOTSUPP);
    assert_int_equal(fixture_io(f, BLK_TRIM, 0, 1 << 20, NULL, 512 << 10), 0);
    assert_int_equal(fixture_extents(f, 0, DATA_BYTES, e, 8, &count), 0);
    uint64_t covered = 0;
    bool hole = false;
    for (uint32_t i = 0; i < count; i++) {
        assert_false(e[i].flags & BLK_EXTENT_ZERO); /* a hole reads as noise */
        hole |= e[i].flags & BLK_EXTENT_HOLE && covered == 1 << 20;
        covered += e[i].length_bytes;
    }
    assert_int_equal(covered, DATA_BYTES);
    assert_true(hole);
    fixture_close(f);
    open_made(f, &m, ",\"discard\":false", "");
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, data, 4096), 0);
    assert_int_equal(fixture_io(f, BLK_TRIM, 0, 0, NULL, 4096), 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, zeroes, 4096), 0);
    assert_memory_equal(data, zeroes, 4096);
}

static void grows_with_zeroes(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[1 << 20], zeroes[1 << 20];
    struct made m = make(f, 2, 512);
    open_made(f, &m, "", "");
    assert_int_equal(fixture_io(f, BLK_RESIZE, 0, DATA_BYTES + sizeof data, NULL, 0), 0);
    assert_int_equal(blk_size(f->blk), DATA_BYTES + sizeof data);
    assert_int_equal(fixture_io(f, BLK_READ, 0, DATA_BYTES, data, sizeof data), 0);
    assert_memory_equal(data, zeroes, sizeof data);
    assert_int_equal(fixture_io(f, BLK_RESIZE, 0, 4096, NULL, 0), 0);
    assert_int_equal(blk_size(f->blk), 4096);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 4096, data, 512), -EINVAL);
    fixture_close(f);
    open_made(f, &m, "", "");
    assert_int_equal(blk_size(f->blk), 4096);
}

static void errors_come_through(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[2 << 20];
    struct made m = make(f, 2, 512);
    char rules[256];
    snprintf(rules, sizeof rules,
             "{\"driver\":\"fault\",\"rules\":[{\"op\":\"write\",\"offset\":%d,\"length\":512,\"error\":\"ENOSPC\"},"
             "{\"op\":\"read\",\"offset\":%d,\"length\":512,\"error\":\"EIO\"}]},",
             PAYLOAD + (1 << 20), PAYLOAD + (3 << 20));
    open_made(f, &m, "", rules);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 0, data, sizeof data), -ENOSPC);
    assert_int_equal(fixture_io(f, BLK_ZERO, 0, 0, NULL, sizeof data), -ENOSPC);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 1 << 20, data, 512), -ENOSPC);
    assert_int_equal(fixture_io(f, BLK_READ, 0, (3 << 20) - 4096, data, 65536), -EIO);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, data, sizeof data), 0);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, DATA_BYTES, data, 512), -ENOSPC);
}

/* ---- keys ---- */

static void takes_keys(void **state)
{
    struct fixture *f = *state;
    struct made m = make(f, 2, 512);
    char stack[512];
    int fd = open(m.key_file, O_RDONLY);
    snprintf(stack, sizeof stack, "[{\"driver\":\"luks\",\"key\":{\"fd\":%d}},{\"driver\":\"raw\",\"file\":\"%s\"}]",
             fd, m.image);
    fixture_open(f, stack, 0);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed */
    fixture_close(f);
    snprintf(stack, sizeof stack,
             "[{\"driver\":\"luks\",\"key\":{\"file\":\"%s\",\"master\":true}},{\"driver\":\"raw\",\"file\":\"%s\"}]",
             m.master_file, m.image);
    fixture_open(f, stack, BLK_OPEN_READ_ONLY);
    char data[512];
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 0, data, 512), -EPERM);
    fixture_close(f);
    open_made(f, &m, ",\"keyslot\":0", "");
}

static void complains(struct fixture *f, const struct made *m, const char *options, const char *about)
{
    char stack[1024];
    struct err err = {0};
    struct blk *blk = NULL;
    snprintf(stack, sizeof stack, "[{\"driver\":\"luks\"%s},{\"driver\":\"raw\",\"file\":\"%s\"}]", options, m->image);
    assert_true(blk_open(&f->env, stack, 0, &blk, &err) < 0);
    if (!strstr(err.text, about))
        fail_msg("%s: '%s' does not say '%s'", options, err.text, about);
}

static void bad_keys(void **state)
{
    struct fixture *f = *state;
    struct made m = make(f, 2, 512);
    char option[256];
    const char *wrong = file_with(f, "wrong", 5), *empty = fixture_file(f, 0), *large = fixture_file(f, 300 << 10);
    complains(f, &m, "", "luks: key is missing");
    complains(f, &m, ",\"key\":\"secret\"", "luks: key must be {\"file\": PATH}");
    complains(f, &m, ",\"key\":{\"file\":\"a\",\"fd\":3}", "key must be");
    complains(f, &m, ",\"key\":{\"file\":\"a\",\"x\":3}", "key must be");
    complains(f, &m, ",\"key\":{\"fd\":1}", "from 3 on");
    complains(f, &m, ",\"key\":{\"fd\":4000}", "cannot read the key from descriptor 4000");
    complains(f, &m, ",\"key\":{\"file\":\"/none\"}", "cannot open the key file '/none': No such file");
    snprintf(option, sizeof option, ",\"key\":{\"file\":\"%s\"}", wrong);
    complains(f, &m, option, "luks: no keyslot opens with this key");
    snprintf(option, sizeof option, ",\"key\":{\"file\":\"%s\",\"master\":true}", wrong);
    complains(f, &m, option, "the volume key must have 64 bytes, this one has 5");
    snprintf(option, sizeof option, ",\"key\":{\"file\":\"%s\"},\"keyslot\":7", wrong);
    complains(f, &m, option, "there is no keyslot 7");
    snprintf(option, sizeof option, ",\"key\":{\"file\":\"%s\"},\"keyslot\":32", wrong);
    complains(f, &m, option, "keyslot must be from 0 to 31");
    snprintf(option, sizeof option, ",\"key\":{\"file\":\"%s\"}", empty);
    complains(f, &m, option, "is empty");
    snprintf(option, sizeof option, ",\"key\":{\"file\":\"%s\"}", large);
    complains(f, &m, option, "is over 262144 bytes");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_what_it_wrote), TEST(version_one),         TEST(odd_vectors), TEST(zero_trim_extents),
        TEST(grows_with_zeroes),   TEST(errors_come_through), TEST(takes_keys),  TEST(bad_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
