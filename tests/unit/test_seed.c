/* Seeds of guests: the files as cloud-init reads them, back out of the image. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/seed.h"
#include "node/base/err.h"

enum { SECTOR = 2048, TEXT_MAX = 1 << 16 };

static const char *const two_keys[] = {"ssh-ed25519 AAAAC3Nza me@here: \"quoted\" # {hash}: [x] \\n & *y !z %t",
                                       "ssh-rsa AAAAB3 'other'"};

static struct seed_card card(void)
{
    struct seed_card c = {.mac = {{0x52, 0x54, 0, 1, 2, 3}}, .address_count = 2, .dns_count = 1, .mtu = 1450};
    assert_int_equal(address_parse("10.7.0.2", &c.addresses[0].address, NULL), 0);
    assert_int_equal(address_parse("10.7.0.1", &c.addresses[0].gateway, NULL), 0);
    c.addresses[0].prefix = 24;
    assert_int_equal(address_parse("fd00:7::2", &c.addresses[1].address, NULL), 0);
    c.addresses[1].prefix = 64;
    assert_int_equal(address_parse("192.0.2.53", &c.dns[0], NULL), 0);
    return c;
}

static struct seed seed(const struct seed_card *cards, unsigned count)
{
    return (struct seed){.instance_id = "0f6c8a52",
                         .hostname = "web-1.example.org",
                         .ssh_keys = two_keys,
                         .ssh_key_count = 2,
                         .cards = cards,
                         .card_count = count};
}

static json_t *parse(const char *text)
{
    json_error_t where;
    json_t *v = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    if (!v)
        fail_msg("%s in %s", where.text, text);
    return v;
}

/* Both the same, whatever the order. */
static void assert_json(const char *text, const char *want)
{
    json_t *a = parse(text), *b = parse(want);
    if (!json_equal(a, b))
        fail_msg("%s is not %s", text, want);
    json_decref(a);
    json_decref(b);
}

/* ---- the files ---- */

static void says_who_it_is(void **state)
{
    (void)state;
    struct seed s = seed(NULL, 0);
    char *text = seed_meta_data(&s);
    json_t *v = parse(text);
    assert_string_equal(json_string_value(json_object_get(v, "instance-id")), "0f6c8a52");
    assert_string_equal(json_string_value(json_object_get(v, "local-hostname")), "web-1.example.org");
    json_t *keys = json_object_get(v, "public-keys");
    assert_int_equal(json_array_size(keys), 2);
    assert_string_equal(json_string_value(json_array_get(keys, 0)), two_keys[0]);
    json_decref(v);
    free(text);
}

static void makes_user_data(void **state)
{
    (void)state;
    struct seed s = seed(NULL, 0);
    char *text = seed_user_data(&s);
    assert_int_equal(strncmp(text, "#cloud-config\n", 14), 0);
    json_t *v = parse(text + 14);
    assert_string_equal(json_string_value(json_object_get(v, "hostname")), "web-1.example.org");
    assert_int_equal(json_array_size(json_object_get(v, "ssh_authorized_keys")), 2);
    json_decref(v);
    free(text);
    s.user_data = "#!/bin/sh\necho \"$0\"\n";
    text = seed_user_data(&s);
    assert_string_equal(text, s.user_data);
    free(text);
}

static void configures_networks(void **state)
{
    (void)state;
    struct seed_card cards[2] = {card(), {.mac = {{2, 0, 0, 0, 0, 9}}}};
    struct seed s = seed(cards, 2);
    char *text = seed_network_config(&s);
    assert_json(text,
                "{\"version\":2,\"ethernets\":{"
                "\"nic0\":{\"match\":{\"macaddress\":\"52:54:00:01:02:03\"},\"set-name\":\"eth0\",\"dhcp4\":false,"
                "\"dhcp6\":false,\"accept-ra\":false,\"addresses\":[\"10.7.0.2/24\",\"fd00:7::2/64\"],\"mtu\":1450,"
                "\"routes\":[{\"to\":\"0.0.0.0/0\",\"via\":\"10.7.0.1\"}],"
                "\"nameservers\":{\"addresses\":[\"192.0.2.53\"]}},"
                "\"nic1\":{\"match\":{\"macaddress\":\"02:00:00:00:00:09\"},\"set-name\":\"eth1\",\"dhcp4\":false,"
                "\"dhcp6\":false,\"accept-ra\":false,\"addresses\":[]}}}");
    free(text);
    s.card_count = 0;
    text = seed_network_config(&s);
    assert_json(text, "{\"version\":2,\"ethernets\":{}}");
    free(text);
}

/* ---- what is refused ---- */

static void assert_refused(const struct seed *s, const char *words)
{
    struct err err = {.code = 0};
    int rc = seed_check(s, &err);
    if (rc != -EINVAL || !strstr(err.text, words))
        fail_msg("%d '%s' does not say '%s'", rc, err.text, words);
}

static void refuses_hostnames(void **state)
{
    (void)state;
    static const char *const bad[] = {"",   ".",   "a..b", "-a",  "a-",       "a-.b", "a.",
                                      ".a", "a b", "a\nb", "a_b", "\xc3\xa4", "a\"b"};
    static const char *const well[] = {"a", "A1", "a-b", "a--b.c", "1.2.3"};
    struct seed s = seed(NULL, 0);
    char lengthy[300];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        s.hostname = bad[i];
        assert_refused(&s, "hostname");
    }
    for (size_t i = 0; i < sizeof well / sizeof *well; i++) {
        s.hostname = well[i];
        assert_int_equal(seed_check(&s, NULL), 0);
    }
    memset(lengthy, 'a', sizeof lengthy);
    lengthy[64] = 0;
    s.hostname = lengthy;
    assert_refused(&s, "hostname");
    lengthy[63] = 0;
    assert_int_equal(seed_check(&s, NULL), 0);
    for (int i = 0; i < 298; i++)
        lengthy[i] = i % 2 ? '.' : 'a';
    lengthy[255] = 0;
    assert_refused(&s, "hostname");
    lengthy[253] = 0;
    assert_int_equal(seed_check(&s, NULL), 0);
}

static void refuses_keys(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "ssh-ed25519",
                                      "AAAAC3Nza me@here",
                                      "command=\"rm\" ssh-ed25519 AAAA",
                                      "ssh-ed25519 AAAA\nssh-rsa BBBB",
                                      "ssh-ed25519 AAAA\r",
                                      "ssh-ed25519 AAAA \xc2\x85",
                                      "ssh-ed25519 AAAA \xe2\x80\xa8",
                                      "-----BEGIN OPENSSH PRIVATE KEY-----"};
    struct seed s = seed(NULL, 0);
    s.ssh_key_count = 1;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        s.ssh_keys = &bad[i];
        assert_refused(&s, "ssh_keys[0]");
    }
}

static void refuses_the_rest(void **state)
{
    (void)state;
    struct seed_card c = card();
    struct seed s = seed(&c, 1);
    s.user_data = "echo hello";
    assert_refused(&s, "user_data");
    s.user_data = "";
    assert_refused(&s, "user_data");
    s = seed(&c, 1);
    s.instance_id = "a\nb";
    assert_refused(&s, "instance_id");
    s = seed(&c, 1);
    c.addresses[1].gateway = c.addresses[0].gateway;
    assert_refused(&s, "networks[0]");
    c = card();
    c.addresses[0].prefix = 33;
    assert_refused(&s, "networks[0]");
    c = card();
    c.dns_count = SEED_DNS_MAX + 1;
    assert_refused(&s, "networks[0]");
    c = card();
    assert_int_equal(seed_check(&s, NULL), 0);
}

/* ---- the image ---- */

static char *read_file(struct archive *archive, const char *name, int fd)
{
    struct archive_entry *entry;
    char *text = calloc(1, TEXT_MAX);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(archive_read_support_format_iso9660(archive), ARCHIVE_OK);
    assert_int_equal(archive_read_open_fd(archive, fd, SECTOR), ARCHIVE_OK);
    while (archive_read_next_header(archive, &entry) == ARCHIVE_OK)
        if (strcmp(archive_entry_pathname(entry), name) == 0) {
            assert_true(archive_read_data(archive, text, TEXT_MAX - 1) > 0);
            archive_read_free(archive);
            return text;
        }
    fail_msg("there is no %s", name);
    return NULL;
}

static void assert_holds(int fd, const char *name, char *want)
{
    char *text = read_file(archive_read_new(), name, fd);
    assert_string_equal(text, want);
    free(text);
    free(want);
}

static void writes_an_image(void **state)
{
    (void)state;
    struct seed_card c = card();
    struct seed s = seed(&c, 1);
    struct err err = {.code = 0};
    struct stat st;
    char label[33] = "", magic[6] = "", second[7] = "";
    int fd = memfd_create("seed", MFD_CLOEXEC);
    if (seed_write_fd(&s, fd, &err))
        fail_msg("%s", err.text);
    assert_holds(fd, "meta-data", seed_meta_data(&s));
    assert_holds(fd, "user-data", seed_user_data(&s));
    assert_holds(fd, "network-config", seed_network_config(&s));
    /* ECMA-119: the first volume descriptor is in sector 16, its label at 40; Joliet's is the next one */
    assert_int_equal(pread(fd, magic, 5, 16 * SECTOR + 1), 5);
    assert_string_equal(magic, "CD001");
    assert_int_equal(pread(fd, label, 32, 16 * SECTOR + 40), 32);
    assert_string_equal(label, "CIDATA                          ");
    assert_int_equal(pread(fd, second, 6, 17 * SECTOR), 6);
    assert_memory_equal(second, "\2CD001", 6);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size % SECTOR, 0);
    assert_in_range(st.st_size, 20 * SECTOR, 1 << 20);
    close(fd);
}

static void replaces_a_file(void **state)
{
    (void)state;
    char directory[] = "/tmp/drover-seed-XXXXXX", path[64], fresh[72];
    struct seed_card c = card();
    struct seed s = seed(&c, 1);
    struct stat st;
    struct err err = {.code = 0};
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/g.seed", directory);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    close(open(fresh, O_WRONLY | O_CREAT, 0644)); /* left by one that was killed */
    for (int i = 0; i < 2; i++)
        if (seed_write(&s, path, &err))
            fail_msg("%s", err.text);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(access(fresh, F_OK), -1);
    s.hostname = "-";
    assert_int_equal(seed_write(&s, path, &err), -EINVAL);
    assert_non_null(strstr(err.text, path));
    int fd = open(path, O_RDONLY);
    s.hostname = "web-1.example.org";
    assert_holds(fd, "meta-data", seed_meta_data(&s)); /* the old one is still there */
    close(fd);
    assert_int_equal(seed_write(&s, "/nowhere/g.seed", &err), -ENOENT);
    unlink(path);
    rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_who_it_is),    cmocka_unit_test(makes_user_data), cmocka_unit_test(configures_networks),
        cmocka_unit_test(refuses_hostnames), cmocka_unit_test(refuses_keys),    cmocka_unit_test(refuses_the_rest),
        cmocka_unit_test(writes_an_image),   cmocka_unit_test(replaces_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
