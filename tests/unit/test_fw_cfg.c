/* fw_cfg as firmware uses it, by bytes and by commands in memory; and as a hostile guest does. */
#include "tests/unit/fake_board.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/machine/fw_cfg.h"
#include "hv/machine/fw_cfg_board.h"
#include "node/base/err.h"

enum { COMMAND_AT = 0x7000, BUFFER_AT = 0x20000, READ = 2, SKIP = 4, SELECT = 8, WRITE = 16 };

static struct fw_cfg *device_of(struct fake_board *b)
{
    struct err err = {0};
    struct fw_cfg *f = fw_cfg_new(b->bus, b->memory, &err);
    assert_non_null(f);
    return f;
}

static void by_bytes(struct fake_board *b, uint16_t key, void *to, size_t bytes)
{
    board_out(b, 0x510, 2, key);
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)to)[i] = (uint8_t)board_in(b, 0x511, 1);
}

/* Returns the control word that is left behind. */
static uint32_t command_at(struct fake_board *b, uint64_t at, uint32_t control, uint32_t length, uint64_t address)
{
    struct {
        uint32_t control, length;
        uint64_t address;
    } c = {htobe32(control), htobe32(length), htobe64(address)};
    assert_int_equal(memory_write(b->memory, at, &c, sizeof c), 0);
    board_out(b, 0x514, 4, htobe32((uint32_t)(at >> 32)));
    board_out(b, 0x518, 4, htobe32((uint32_t)at));
    assert_int_equal(memory_read(b->memory, at, &control, sizeof control), 0);
    return be32toh(control);
}

static uint32_t command(struct fake_board *b, uint32_t control, uint32_t length, uint64_t address)
{
    return command_at(b, COMMAND_AT, control, length, address);
}

static uint8_t byte_at(struct fake_board *b, uint64_t gpa)
{
    uint8_t byte;
    assert_int_equal(memory_read(b->memory, gpa, &byte, 1), 0);
    return byte;
}

/* ---- */

static void identifies_itself(void **state)
{
    struct fake_board *b = *state;
    struct fw_cfg *f = device_of(b);
    char text[8];
    by_bytes(b, FW_CFG_SIGNATURE, text, 6);
    assert_memory_equal(text, "QEMU\0\0", 6); /* zeroes past the end */
    uint32_t id;
    by_bytes(b, FW_CFG_ID, &id, sizeof id);
    assert_int_equal(le32toh(id), 3);
    uint32_t dma[2] = {board_in(b, 0x514, 4), board_in(b, 0x518, 4)};
    assert_memory_equal(dma, "QEMU CFG", 8);
    by_bytes(b, 0x1234, text, 4); /* there is none */
    assert_memory_equal(text, "\0\0\0\0", 4);
    board_out(b, 0x511, 1, 0xff); /* a guest writes nothing */
    by_bytes(b, FW_CFG_SIGNATURE, text, 4);
    assert_memory_equal(text, "QEMU", 4);
    fw_cfg_free(f);
}

static void lists_files(void **state)
{
    struct fake_board *b = *state;
    struct fw_cfg *f = device_of(b);
    struct err err = {0};
    assert_int_equal(fw_cfg_add_file(f, "etc/one", "1", 1, &err), 0);
    assert_int_equal(fw_cfg_add_file(f, "etc/two", "twotwo", 6, &err), 0);
    assert_int_equal(fw_cfg_add_file(f, "etc/empty", NULL, 0, &err), 0);
    assert_int_equal(fw_cfg_add_file(f, "etc/two", "x", 1, &err), -EEXIST);
    assert_non_null(strstr(err.text, "etc/two"));
    assert_int_equal(fw_cfg_add_file(f, "", "x", 1, &err), -EINVAL);
    char name[80];
    memset(name, 'n', sizeof name);
    name[56] = 0;
    assert_int_equal(fw_cfg_add_file(f, name, "x", 1, &err), -EINVAL);
    name[55] = 0;
    assert_int_equal(fw_cfg_add_file(f, name, "x", 1, &err), 0);
    assert_int_equal(fw_cfg_add(f, FW_CFG_ID, "x", 1, &err), -EEXIST);
    assert_int_equal(fw_cfg_add(f, FW_CFG_DIRECTORY, "x", 1, &err), -EEXIST);

    uint8_t directory[4 + 4 * 64 + 1];
    by_bytes(b, FW_CFG_DIRECTORY, directory, sizeof directory);
    assert_memory_equal(directory, "\0\0\0\4", 4);
    assert_memory_equal(directory + 4, "\0\0\0\1\0\x20\0\0etc/one\0", 16);
    assert_memory_equal(directory + 4 + 64, "\0\0\0\6\0\x21\0\0etc/two\0", 16);
    assert_string_equal((char *)directory + 4 + 3 * 64 + 8, name);
    char text[7];
    by_bytes(b, 0x4021, text, 7); /* the old "write channel" bit */
    assert_memory_equal(text, "twotwo\0", 7);
    for (unsigned i = 0; fw_cfg_add(f, (uint16_t)(0x9000 + i), "x", 1, &err) == 0; i++)
        assert_true(i < FW_CFG_ITEM_MAX);
    assert_int_equal(err.code, ENOSPC);
    fw_cfg_free(f);
}

static void commands(void **state)
{
    struct fake_board *b = *state;
    struct fw_cfg *f = device_of(b);
    struct err err = {0};
    assert_int_equal(fw_cfg_add_file(f, "etc/text", "0123456789", 10, &err), 0);
    uint8_t noise[16], text[16];
    memset(noise, 0xaa, sizeof noise);
    assert_int_equal(memory_write(b->memory, BUFFER_AT, noise, sizeof noise), 0);
    assert_int_equal(command(b, 0x20u << 16 | SELECT | READ, 4, BUFFER_AT), 0);
    assert_int_equal(command(b, SKIP, 2, 0), 0);
    assert_int_equal(command(b, READ, 2, BUFFER_AT + 4), 0);
    assert_int_equal(memory_read(b->memory, BUFFER_AT, text, 7), 0);
    assert_memory_equal(text, "012367\xaa", 7);
    assert_int_equal(board_in(b, 0x511, 1), '8'); /* both ways have one place */
    assert_int_equal(command(b, READ, 5, BUFFER_AT), 0);
    assert_int_equal(memory_read(b->memory, BUFFER_AT, text, 6), 0);
    assert_memory_equal(text,
                        "9\0\0\0\0"
                        "7",
                        6);
    assert_int_equal(command(b, 0x20u << 16 | SELECT, 0, 0), 0);
    assert_int_equal(board_in(b, 0x511, 1), '0');
    fw_cfg_free(f);
}

static void hostile(void **state)
{
    struct fake_board *b = *state;
    struct fw_cfg *f = device_of(b);
    struct err err = {0};
    assert_int_equal(fw_cfg_add_file(f, "etc/text", "0123456789", 10, &err), 0);
    const uint32_t read = 0x20u << 16 | SELECT | READ;
    /* targets outside of memory, around its end, and around the end of numbers */
    assert_int_equal(command(b, read, 10, FAKE_MEMORY_BYTES - 9), 1);
    assert_int_equal(byte_at(b, FAKE_MEMORY_BYTES - 9), 0);
    assert_int_equal(command(b, read, 10, FAKE_MEMORY_BYTES - 10), 0);
    assert_int_equal(byte_at(b, FAKE_MEMORY_BYTES - 1), '9');
    assert_int_equal(command(b, read, 1, UINT64_MAX), 1);
    assert_int_equal(command(b, read, 0xffffffff, UINT64_MAX - 5), 1);
    assert_int_equal(command(b, read, 0xffffffff, 0), 1);
    assert_int_equal(command(b, read, FAKE_MEMORY_BYTES + 1, 0), 1);
    assert_int_equal(byte_at(b, 0), 0); /* nothing was copied */
    assert_int_equal(command(b, 0x20u << 16 | SELECT | SKIP, 0xffffffff, 0), 0);
    assert_int_equal(command(b, SKIP, 0xffffffff, 0), 0);
    assert_int_equal(board_in(b, 0x511, 1), 0);
    assert_int_equal(command(b, 0x20u << 16 | SELECT | WRITE, 1, 0), 1);
    assert_int_equal(command(b, 0xffffffff, 0, UINT64_MAX), 0); /* a key that is none, read 0 bytes */
    /* over the command itself: the answer comes last */
    assert_int_equal(command(b, read, 16, COMMAND_AT), 0);
    assert_int_equal(byte_at(b, COMMAND_AT + 4), '4');
    /* commands where no memory is, or only part of it */
    board_out(b, 0x518, 4, htobe32(FAKE_MEMORY_BYTES - 8));
    board_out(b, 0x514, 4, 0xffffffff);
    board_out(b, 0x518, 4, 0xffffffff);
    board_out(b, 0x514, 2, 0x1234);
    board_out(b, 0x516, 4, 0x1234);
    fw_cfg_free(f);
}

static void tells_of_the_board(void **state)
{
    struct fake_board *b = *state;
    struct fw_cfg *f = device_of(b);
    struct err err = {0};
    const struct fw_cfg_board board = {
        .memory = b->memory, .vcpus = 3, .bootorder = "/pci@i0cf8/*@2\n", .serial_console = true};
    if (fw_cfg_board_add(f, &board, &err))
        fail_msg("%s", err.text);
    uint64_t ram;
    uint16_t number;
    by_bytes(b, FW_CFG_RAM_BYTES, &ram, sizeof ram);
    assert_int_equal(le64toh(ram), FAKE_MEMORY_BYTES);
    by_bytes(b, FW_CFG_CPUS, &number, sizeof number);
    assert_int_equal(le16toh(number), 3);
    by_bytes(b, FW_CFG_CPUS_MAX, &number, sizeof number);
    assert_int_equal(le16toh(number), 3);
    uint8_t directory[4 + 64], e820[21];
    by_bytes(b, FW_CFG_DIRECTORY, directory, sizeof directory);
    assert_int_equal(directory[3], 4); /* e820, states, bootorder, console */
    assert_string_equal((char *)directory + 12, "etc/e820");
    assert_int_equal(directory[7], 20);
    by_bytes(b, 0x20, e820, sizeof e820);
    assert_memory_equal(e820, "\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\1\0\0\0\0", 21);
    fw_cfg_free(f);
}

static void resets_and_saves(void **state)
{
    struct fake_board *b = *state;
    struct fw_cfg *f = device_of(b);
    struct err err = {0};
    assert_int_equal(fw_cfg_add_file(f, "etc/text", "0123456789", 10, &err), 0);
    char text[3];
    by_bytes(b, 0x20, text, 3);
    board_out(b, 0x514, 4, htobe32(7));
    struct device *device = fw_cfg_device(f);
    size_t bytes;
    void *data = board_save(b, device, &bytes);
    bus_lock(b->bus);
    device->reset(device);
    bus_unlock(b->bus);
    assert_int_equal(board_in(b, 0x511, 1), 'Q');
    assert_int_equal(board_load_state(b, device, data, bytes), 0);
    assert_int_equal(board_in(b, 0x511, 1), '3');
    board_round_trip(b, device, device);
    free(data);
    fw_cfg_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(identifies_itself, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(lists_files, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(commands, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(hostile, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(tells_of_the_board, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(resets_and_saves, fake_board_setup, fake_board_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
