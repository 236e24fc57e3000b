/* The ACPI tables: checksums and lengths in memory, what each says, the loader's script executed as firmware does it,
 * and Intel's own tools reading and running them (acpica-tools). */
#include "tests/unit/fake_board.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/machine/acpi_tables.h"
#include "hv/machine/fw_cfg.h"
#include "hv/vcpu.h"
#include "node/base/err.h"

static const struct acpi_config usual = {
    .vcpus = 4, .window32_gpa = 0x80000000, .window64_gpa = 0x140000000, .window64_bytes = 0x1000000000};

static struct acpi_tables *built(const struct acpi_config *config)
{
    struct err err = {0};
    struct acpi_tables *t = acpi_tables_new(config, &err);
    if (!t)
        fail_msg("%s", err.text);
    return t;
}

static uint64_t number(const uint8_t *at, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, at, bytes);
    return le64toh(v);
}

static void assert_balanced(const uint8_t *data, size_t bytes)
{
    unsigned sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum += data[i];
    assert_int_equal(sum & 0xff, 0);
}

/* ---- a guest's view: find the RSDP, follow pointers ---- */

struct view {
    const uint8_t *rsdp, *facp, *apic, *dsdt, *facs;
    uint32_t facp_bytes, apic_bytes, dsdt_bytes;
};

/* Memory of a guest for those who look, wherever it came from. */
typedef const uint8_t *lookup(void *context, uint64_t gpa, uint64_t bytes);

static const uint8_t *table_at(lookup *look, void *context, uint64_t gpa, const char *signature, uint32_t *bytes)
{
    const uint8_t *table = look(context, gpa, 8);
    assert_non_null(table);
    assert_int_equal(gpa % 8, 0);
    assert_memory_equal(table, signature, 4);
    *bytes = (uint32_t)number(table + 4, 4);
    assert_non_null(look(context, gpa, *bytes));
    if (strcmp(signature, "FACS") != 0)
        assert_balanced(table, *bytes);
    return table;
}

static struct view follow(lookup *look, void *context, uint64_t rsdp_gpa)
{
    struct view v = {.rsdp = look(context, rsdp_gpa, 36)};
    uint32_t rsdt_bytes, xsdt_bytes, facs_bytes;
    assert_non_null(v.rsdp);
    assert_memory_equal(v.rsdp, "RSD PTR ", 8);
    assert_int_equal(v.rsdp[15], 2);
    assert_int_equal(number(v.rsdp + 20, 4), 36);
    assert_balanced(v.rsdp, 20);
    assert_balanced(v.rsdp, 36);
    const uint8_t *rsdt = table_at(look, context, number(v.rsdp + 16, 4), "RSDT", &rsdt_bytes);
    const uint8_t *xsdt = table_at(look, context, number(v.rsdp + 24, 8), "XSDT", &xsdt_bytes);
    assert_int_equal(rsdt_bytes, 36 + 2 * 4);
    assert_int_equal(xsdt_bytes, 36 + 2 * 8);
    uint64_t at[2];
    for (unsigned i = 0; i < 2; i++) {
        at[i] = number(xsdt + 36 + 8 * i, 8);
        assert_int_equal(at[i], number(rsdt + 36 + 4 * i, 4));
    }
    v.facp = table_at(look, context, at[0], "FACP", &v.facp_bytes);
    v.apic = table_at(look, context, at[1], "APIC", &v.apic_bytes);
    v.facs = table_at(look, context, number(v.facp + 36, 4), "FACS", &facs_bytes);
    assert_int_equal(number(v.facp + 36, 4) % 64, 0);
    assert_int_equal(facs_bytes, 64);
    assert_int_equal(number(v.facp + 40, 4), number(v.facp + 140, 8));
    v.dsdt = table_at(look, context, number(v.facp + 40, 4), "DSDT", &v.dsdt_bytes);
    return v;
}

static const uint8_t *in_memory(void *context, uint64_t gpa, uint64_t bytes)
{
    return memory_at(context, gpa, bytes);
}

static struct view placed(struct fake_board *b, const struct acpi_config *config)
{
    struct err err = {0};
    struct acpi_tables *t = built(config);
    if (acpi_tables_place(t, b->memory, ACPI_PLACE_GPA, ACPI_PLACE_BYTES, &err))
        fail_msg("%s", err.text);
    acpi_tables_free(t);
    return follow(in_memory, b->memory, ACPI_PLACE_GPA);
}

/* ---- */

static void says_what_there_is(void **state)
{
    struct view v = placed(*state, &usual);
    assert_int_equal(v.facp_bytes, 244);
    assert_int_equal(v.facp[8], 3);
    assert_int_equal(number(v.facp + 46, 2), 9);     /* SCI */
    assert_int_equal(number(v.facp + 48, 4), 0xb2);  /* command port */
    assert_int_equal(number(v.facp + 56, 4), 0x600); /* events */
    assert_int_equal(number(v.facp + 64, 4), 0x604); /* control */
    assert_int_equal(number(v.facp + 76, 4), 0x608); /* timer */
    assert_int_equal(number(v.facp + 80, 4), 0x60c); /* general purpose events */
    assert_int_equal(number(v.facp + 88, 5), 0x0404000204);
    assert_int_equal(v.facp[108], 0x32);              /* century */
    assert_int_equal(number(v.facp + 116, 4), 0x801); /* reset: a port of 8 bits */
    assert_int_equal(number(v.facp + 120, 8), 0xcf9);
    assert_int_equal(v.facp[128], 6);
    assert_true(number(v.facp + 112, 4) & 1 << 10);
    assert_false(number(v.facp + 112, 4) & 1 << 8); /* the timer has 24 bits */
    assert_int_equal(number(v.facp + 148 + 4, 8), 0x600);
    assert_int_equal(number(v.facp + 208 + 4, 8), 0x608);
    assert_int_equal(number(v.facp + 220 + 4, 8), 0x60c);
    assert_memory_equal(v.dsdt + 10, "DROVERDROVERPC", 14);
}

static void counts_processors(void **state)
{
    for (unsigned vcpus = 1; vcpus <= VCPU_MAX; vcpus += VCPU_MAX - 1) {
        struct acpi_config config = usual;
        config.vcpus = vcpus;
        struct view v = placed(*state, &config);
        unsigned kinds[5] = {0}, at = 44;
        assert_int_equal(number(v.apic + 36, 4), 0xfee00000);
        for (; at < v.apic_bytes; at += v.apic[at + 1]) {
            assert_true(v.apic[at] < 5 && v.apic[at + 1] >= 6);
            if (v.apic[at] == 0)
                assert_int_equal(v.apic[at + 3], kinds[0]);
            kinds[v.apic[at]]++;
        }
        assert_int_equal(at, v.apic_bytes);
        assert_int_equal(kinds[0], vcpus);
        assert_int_equal(kinds[1], 1);
        assert_int_equal(kinds[2], 5);
        assert_int_equal(kinds[4], 1);
        assert_int_equal(!!(number(v.facp + 112, 4) & 1 << 18), vcpus > 8);
    }
    struct err err = {0};
    assert_null(acpi_tables_new(&(struct acpi_config){.vcpus = VCPU_MAX + 1}, &err));
    assert_int_equal(err.code, EINVAL);
    assert_null(acpi_tables_new(&(struct acpi_config){.vcpus = 0}, &err));
}

static void refuses_places(void **state)
{
    struct fake_board *b = *state;
    struct err err = {0};
    struct acpi_tables *t = built(&usual);
    assert_int_equal(acpi_tables_place(t, b->memory, 0xe0000, 4096, &err), -ENOSPC);
    assert_int_equal(acpi_tables_place(t, b->memory, 0xe0000, 0, &err), -ENOSPC);
    assert_int_equal(acpi_tables_place(t, b->memory, FAKE_MEMORY_BYTES - 4096, 1 << 20, &err), -EFAULT);
    assert_true(*err.text);
    acpi_tables_free(t);
}

static void chooses_windows(void **state)
{
    (void)state;
    struct err err = {0};
    struct acpi_config config = {0};
    struct memory *small = memory_new(512ull << 20, &err), *large = memory_new(5ull << 30, &err);
    assert_true(small && large);
    acpi_config_windows(&config, small, 46);
    assert_int_equal(config.window32_gpa, 0x80000000);
    assert_int_equal(config.window64_gpa, 4ull << 30);
    assert_int_equal(config.window64_bytes, 64ull << 30);
    acpi_config_windows(&config, large, 36);
    assert_int_equal(config.window32_gpa, 0xc0000000);
    assert_int_equal(config.window64_gpa, 6ull << 30);
    assert_int_equal(config.window64_bytes, 58ull << 30);
    acpi_config_windows(&config, large, 32);
    assert_int_equal(config.window64_bytes, 0);
    memory_free(small);
    memory_free(large);
}

/* ---- firmware: reads the script and does what it says ---- */

enum { FILES = 2, FILE_BYTES = 16384, COMMANDS = 64 };

struct firmware {
    struct fake_board *b;
    char name[FILES][56];
    uint64_t gpa[FILES];
    uint32_t bytes[FILES];
    uint8_t data[FILES][FILE_BYTES];
    unsigned files;
};

static uint32_t read_file(struct fake_board *b, const char *name, uint8_t *to)
{
    board_out(b, 0x510, 2, FW_CFG_DIRECTORY);
    uint8_t entry[64];
    for (unsigned i = 0; i < 4; i++)
        entry[i] = (uint8_t)board_in(b, 0x511, 1);
    for (unsigned left = entry[3]; left; left--) {
        for (unsigned i = 0; i < sizeof entry; i++)
            entry[i] = (uint8_t)board_in(b, 0x511, 1);
        if (strcmp((char *)entry + 8, name) != 0)
            continue;
        uint32_t bytes;
        memcpy(&bytes, entry, 4);
        bytes = be32toh(bytes);
        assert_true(bytes <= FILE_BYTES);
        board_out(b, 0x510, 2, (uint32_t)entry[4] << 8 | entry[5]);
        for (uint32_t i = 0; i < bytes; i++)
            to[i] = (uint8_t)board_in(b, 0x511, 1);
        return bytes;
    }
    fail_msg("no file %s", name);
    return 0;
}

static unsigned find(const struct firmware *w, const uint8_t *name)
{
    for (unsigned i = 0; i < w->files; i++)
        if (strcmp(w->name[i], (const char *)name) == 0)
            return i;
    fail_msg("%s is used before it is allocated", (const char *)name);
    return 0;
}

static void execute(struct firmware *w, const uint8_t *entry)
{
    uint32_t command = (uint32_t)number(entry, 4);
    if (command == 1) {
        unsigned i = w->files++;
        assert_true(i < FILES);
        memcpy(w->name[i], entry + 4, 56);
        w->bytes[i] = read_file(w->b, w->name[i], w->data[i]);
        w->gpa[i] = entry[64] == 2 ? 0xf5a40 : 0x1ffe0000;
        assert_int_equal(w->gpa[i] % number(entry + 60, 4), 0);
        return;
    }
    unsigned file = find(w, entry + 4);
    if (command == 2) {
        uint32_t at = (uint32_t)number(entry + 116, 4), bytes = entry[120];
        assert_true(at + bytes <= w->bytes[file]);
        uint64_t value = number(&w->data[file][at], bytes) + w->gpa[find(w, entry + 60)];
        value = htole64(value);
        memcpy(&w->data[file][at], &value, bytes);
        return;
    }
    assert_int_equal(command, 3);
    uint32_t at = (uint32_t)number(entry + 60, 4), start = (uint32_t)number(entry + 64, 4);
    uint32_t bytes = (uint32_t)number(entry + 68, 4);
    assert_true(at < w->bytes[file] && start + bytes <= w->bytes[file]);
    uint8_t sum = 0;
    for (uint32_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + w->data[file][start + i]);
    w->data[file][at] = (uint8_t)(w->data[file][at] - sum);
}

static const uint8_t *in_firmware(void *context, uint64_t gpa, uint64_t bytes)
{
    struct firmware *w = context;
    for (unsigned i = 0; i < w->files; i++)
        if (gpa >= w->gpa[i] && gpa + bytes <= w->gpa[i] + w->bytes[i])
            return &w->data[i][gpa - w->gpa[i]];
    return NULL;
}

static void firmware_places_them(void **state)
{
    struct fake_board *b = *state;
    struct err err = {0};
    static struct firmware w;
    static uint8_t script[FILE_BYTES];
    w = (struct firmware){.b = b};
    struct fw_cfg *fw_cfg = fw_cfg_new(b->bus, b->memory, &err);
    struct acpi_tables *t = built(&usual);
    assert_non_null(fw_cfg);
    assert_int_equal(acpi_tables_offer(t, fw_cfg, &err), 0);
    uint32_t bytes = read_file(b, "etc/table-loader", script);
    assert_int_equal(bytes % 128, 0);
    for (uint32_t at = 0; at < bytes; at += 128)
        execute(&w, &script[at]);
    struct view v = follow(in_firmware, &w, 0xf5a40);
    assert_int_equal(v.facp_bytes, 244);
    acpi_tables_free(t);
    fw_cfg_free(fw_cfg);
}

/* ---- Intel's tools ---- */

static void write_table(const char *directory, const char *name, const uint8_t *data, uint32_t bytes)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s.aml", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

/* What a command prints, in a static buffer; it must end well and complain of nothing. */
static const char *output_of(const char *command)
{
    static char text[1 << 17];
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t bytes = fread(text, 1, sizeof text - 1, pipe);
    text[bytes] = 0;
    int rc = pclose(pipe);
    if (rc || strstr(text, "ACPI Error") || strstr(text, "nvalid") || strstr(text, "Warning "))
        fail_msg("%s\n%s", command, text);
    return text;
}

static void others_read_them(void **state)
{
    struct view v = placed(*state, &usual);
    char directory[] = "/tmp/drover-acpi-XXXXXX";
    assert_non_null(mkdtemp(directory));
    write_table(directory, "dsdt", v.dsdt, v.dsdt_bytes);
    write_table(directory, "facp", v.facp, v.facp_bytes);
    write_table(directory, "apic", v.apic, v.apic_bytes);
    assert_int_equal(chdir(directory), 0);
    output_of("for t in facp apic dsdt; do iasl -d $t.aml 2>&1 || exit 1; done");
    output_of("iasl -we -p again dsdt.dsl 2>&1"); /* what was read compiles again */
    output_of("grep 'PM Timer Block Address : 00000608' facp.dsl && grep 'P32B, 0x80000000' dsdt.dsl");
    const char *text = output_of("acpiexec -b 'evaluate \\_SB.PCI0._CRS; evaluate \\_SB.LNKB._STA;"
                                 "evaluate \\_SB.PCI0.S05._EJ0 1; evaluate \\_GPE._E01; evaluate \\_S5'"
                                 " dsdt.aml 2>&1");
    /* the windows: 80000000h to febfffffh, 140000000h to 113fffffffh */
    assert_non_null(strstr(text, "0050: 02 00 87 17 00 00 0C 01 00 00 00 00 00 00 00 80"));
    assert_non_null(strstr(text, "0060: FF FF BF FE"));
    assert_non_null(strstr(text, "00 00 00 40 01 00"));
    assert_non_null(strstr(text, "FF FF FF 3F 11 00 00 00"));
    output_of("rm *");
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(says_what_there_is, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(counts_processors, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(refuses_places, fake_board_setup, fake_board_teardown),
        cmocka_unit_test(chooses_windows),
        cmocka_unit_test_setup_teardown(firmware_places_them, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(others_read_them, fake_board_setup, fake_board_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
