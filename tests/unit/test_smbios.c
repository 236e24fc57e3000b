/* SMBIOS: entry point and structures as a kernel walks them.*/
#include "tests/unit/fake_board.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/machine/fw_cfg.h"
#include "hv/machine/smbios.h"
#include "node/base/err.h"

static struct smbios_config usual(const struct fake_board *b)
{
    return (struct smbios_config){
        .product = "Virtual machine",
        .serial = "ds=nocloud",
        .uuid = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff},
        .vcpus = 3,
        .memory = b->memory};
}

static struct smbios *built(const struct smbios_config *config)
{
    struct err err = {0};
    struct smbios *s = smbios_new(config, &err);
    assert_non_null(s);
    return s;
}

static void assert_balanced(const uint8_t *data, size_t bytes)
{
    unsigned sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum += data[i];
    assert_int_equal(sum & 0xff, 0);
}

static unsigned number(const uint8_t *at, unsigned bytes)
{
    unsigned v = 0;
    for (unsigned i = bytes; i--;)
        v = v << 8 | at[i];
    return v;
}

/* Text n of a structure. */
static const char *text_of(const uint8_t *structure, unsigned n)
{
    const char *text = (const char *)structure + structure[1];
    while (--n)
        text += strlen(text) + 1;
    return text;
}

static void is_walked(void **state)
{
    struct fake_board *b = *state;
    struct err err = {0};
    struct smbios_config config = usual(b);
    struct smbios *s = built(&config);
    assert_int_equal(smbios_place(s, b->memory, SMBIOS_PLACE_GPA, SMBIOS_PLACE_BYTES, &err), 0);
    const uint8_t *entry = memory_at(b->memory, SMBIOS_PLACE_GPA, 31);
    assert_memory_equal(entry, "_SM_", 4);
    assert_memory_equal(entry + 16, "_DMI_", 5);
    assert_int_equal(entry[5], 31);
    assert_balanced(entry, 31);
    assert_balanced(entry + 16, 15);
    unsigned bytes = number(entry + 22, 2), count = 0, largest = 0;
    const uint8_t *start = memory_at(b->memory, number(entry + 24, 4), bytes), *at = start;
    const uint8_t *by_type[128] = {NULL};
    while (at < start + bytes) {
        const uint8_t *structure = at;
        assert_true(at[0] < 128 && at[1] >= 4);
        by_type[at[0]] = structure;
        at += at[1];
        while (at[0] || at[1])
            at++;
        at += 2;
        count++;
        if (at - structure > largest)
            largest = (unsigned)(at - structure);
    }
    assert_ptr_equal(at, start + bytes);
    assert_int_equal(count, number(entry + 28, 2));
    assert_int_equal(largest, number(entry + 8, 2));
    assert_int_equal(by_type[0][1], 24);
    assert_int_equal(by_type[1][1], 27);
    assert_int_equal(by_type[3][1], 22);
    assert_int_equal(by_type[4][1], 42);
    assert_int_equal(by_type[16][1], 23);
    assert_int_equal(by_type[17][1], 40);
    assert_int_equal(by_type[19][1], 31);
    assert_int_equal(by_type[32][1], 11);
    assert_int_equal(by_type[127][1], 4);
    assert_string_equal(text_of(by_type[1], by_type[1][5]), "Virtual machine");
    assert_int_equal(by_type[1][6], 0); /* no version */
    assert_string_equal(text_of(by_type[1], by_type[1][7]), "ds=nocloud");
    assert_memory_equal(by_type[1] + 8, "\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16);
    assert_int_equal(by_type[4][35], 3);
    assert_int_equal(number(by_type[17] + 12, 2), FAKE_MEMORY_BYTES >> 20);
    assert_int_equal(number(by_type[19] + 23, 4), FAKE_MEMORY_BYTES - 1);
    smbios_free(s);
}

static void bears_extremes(void **state)
{
    struct fake_board *b = *state;
    struct err err = {0};
    char text[1000];
    memset(text, 't', sizeof text);
    text[sizeof text - 1] = 0;
    struct memory *memory = memory_new(64ull << 30, &err);
    struct smbios_config config = {.product = text, .version = text, .serial = text, .vcpus = 32, .memory = memory};
    assert_non_null(memory);
    struct smbios *s = built(&config);
    assert_int_equal(smbios_place(s, b->memory, SMBIOS_PLACE_GPA, 300, &err), -ENOSPC);
    assert_int_equal(smbios_place(s, b->memory, SMBIOS_PLACE_GPA, 0, &err), -ENOSPC);
    assert_int_equal(smbios_place(s, b->memory, FAKE_MEMORY_BYTES, 4096, &err), -EFAULT);
    struct fw_cfg *fw_cfg = fw_cfg_new(b->bus, b->memory, &err);
    assert_non_null(fw_cfg);
    assert_int_equal(smbios_offer(s, fw_cfg, &err), 0);
    board_out(b, 0x510, 2, FW_CFG_FILE_FIRST);
    assert_int_equal(board_in(b, 0x511, 1), '_');
    fw_cfg_free(fw_cfg);
    smbios_free(s);
    memory_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(is_walked, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(bears_extremes, fake_board_setup, fake_board_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
