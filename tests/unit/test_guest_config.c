/* A guest's configuration: what it becomes, and the one line that each mistake is answered with. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "hv/guest_config.h"
#include "node/base/err.h"

static int parse(const char *text, struct guest_config *config, struct err *err)
{
    json_error_t why;
    json_t *json = json_loads(text, 0, &why);
    assert_non_null(json);
    int rc = guest_config_from_json(config, json, err);
    json_decref(json);
    return rc;
}

static void test_presets(void **state)
{
    (void)state;
    struct guest_config c;
    struct err err;
    assert_int_equal(parse("{\"kernel\": \"k\"}", &c, &err), 0);
    assert_string_equal(c.name, "guest");
    assert_string_equal(c.cpu, "host");
    assert_string_equal(c.kernel, "k");
    assert_int_equal(c.memory_bytes, 512 << 20);
    assert_int_equal(c.vcpus, 1);
    assert_int_equal(c.engine, GUEST_ENGINE_AUTO);
    assert_int_equal(c.console.kind, GUEST_CONSOLE_NONE);
    assert_true(c.rng && c.balloon);
    assert_false(c.paused);
    guest_config_fini(&c);
}

static void test_everything(void **state)
{
    (void)state;
    struct guest_config c;
    struct err err;
    const char *text =
        "{\"name\":\"web-1\",\"memory\":\"1G\",\"vcpus\":4,\"engine\":\"interp\",\"cpu\":\"baseline-v2\","
        "\"firmware\":\"seabios\",\"disks\":[{\"stack\":\"raw:a\",\"serial\":\"root\",\"read-only\":true,\"queues\":2},"
        "{\"stack\":[{\"driver\":\"mem\",\"size\":\"1M\"}]}],"
        "\"nets\":[{\"tap\":\"tap0\",\"mac\":\"52:54:00:aa:bb:cc\",\"mtu\":9000},{\"fd\":7,\"mac\":\"02:0:0:0:0:1\"}],"
        "\"console\":\"unix:/run/c\",\"virtio-console\":\"pty\",\"rng\":false,\"balloon\":false,\"vsock-cid\":3,"
        "\"vsock-path\":\"/run/v\",\"control\":\"unix:/run/s\",\"paused\":true,\"on-reset\":\"exit\",\"user\":\"u\"}";
    assert_int_equal(parse(text, &c, &err), 0);
    assert_string_equal(c.name, "web-1");
    assert_int_equal(c.memory_bytes, 1 << 30);
    assert_int_equal(c.engine, GUEST_ENGINE_INTERP);
    assert_int_equal(c.disk_count, 2);
    assert_string_equal(c.disks[0].serial, "root");
    assert_true(c.disks[0].read_only);
    assert_int_equal(c.disks[0].queues, 2);
    assert_string_equal(c.disks[1].stack, "[{\"driver\":\"mem\",\"size\":\"1M\"}]");
    assert_int_equal(c.disks[1].queues, 1);
    assert_int_equal(c.net_count, 2);
    assert_int_equal(c.nets[0].mac[5], 0xcc);
    assert_int_equal(c.nets[0].mtu, 9000);
    assert_int_equal(c.nets[1].fd, 7);
    assert_string_equal(c.console.path, "/run/c");
    assert_int_equal(c.virtio_console.kind, GUEST_CONSOLE_PTY);
    assert_int_equal(c.vsock_cid, 3);
    assert_string_equal(c.control, "/run/s");
    assert_int_equal(c.on_reset, GUEST_EXIT);
    assert_true(c.paused);
    guest_config_fini(&c);
}

/* Numbers that nobody has, and slots: for a guest whose devices came and went. */
static void test_gaps(void **state)
{
    (void)state;
    struct guest_config c;
    struct err err;
    assert_int_equal(parse("{\"kernel\":\"k\",\"disks\":[null,{\"stack\":\"mem:1M\",\"slot\":31}],"
                           "\"nets\":[null,{\"fd\":7,\"mac\":\"02:0:0:0:0:1\",\"slot\":2}]}",
                           &c, &err),
                     0);
    assert_int_equal(c.disk_count, 2);
    assert_null(c.disks[0].stack);
    assert_int_equal(c.disks[1].slot, 31);
    assert_int_equal(c.net_count, 2);
    assert_int_equal(c.nets[0].fd, UINT32_MAX);
    assert_int_equal(c.nets[1].slot, 2);
    guest_config_fini(&c);
    assert_int_equal(parse("{\"kernel\":\"k\",\"disks\":[null],\"vcpus\":0}", &c, &err), -EINVAL);
    assert_string_equal(err.text, "vcpus: must be a number from 1 to 32");
}

static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"[]", "the guest: must be an object, {...}"},
        {"{}", "kernel: say what to boot: either a kernel or a firmware"},
        {"{\"kernel\":\"k\",\"firmware\":\"seabios\"}",
         "firmware: a kernel is booted without firmware: leave one of them out"},
        {"{\"firmware\":\"seabios\",\"initrd\":\"i\"}", "initrd: goes with a kernel"},
        {"{\"kernel\":\"k\",\"colour\":1}", "colour: there is no such key"},
        {"{\"kernel\":5}", "kernel: must be a text"},
        {"{\"kernel\":\"\"}", "kernel: is empty: write a text, or leave it out"},
        {"{\"kernel\":\"k\",\"memory\":\"1M\"}", "memory: must be from 2M to 4T"},
        {"{\"kernel\":\"k\",\"memory\":\"3M\"}", "memory: must be a multiple of 2M"},
        {"{\"kernel\":\"k\",\"memory\":true}", "memory: must be a size, as in \"512M\""},
        {"{\"kernel\":\"k\",\"vcpus\":0}", "vcpus: must be a number from 1 to 32"},
        {"{\"kernel\":\"k\",\"vcpus\":\"2\"}", "vcpus: must be a number from 1 to 32"},
        {"{\"kernel\":\"k\",\"engine\":\"xen\"}", "engine: must be one of auto, kvm, dbt, interp, lockstep"},
        {"{\"kernel\":\"k\",\"name\":\"a b\"}", "name: 'a b' has a letter that is not one of a-z A-Z 0-9 - _ ."},
        {"{\"kernel\":\"k\",\"paused\":1}", "paused: must be true or false"},
        {"{\"kernel\":\"k\",\"console\":\"tty\"}", "console: must be none, stdio, pty or unix:PATH"},
        {"{\"kernel\":\"k\",\"console\":\"stdio\",\"virtio-console\":\"stdio\"}",
         "virtio-console: only one console can be stdio"},
        {"{\"kernel\":\"k\",\"control\":\"/run/x\"}", "control: must be unix:PATH"},
        {"{\"kernel\":\"k\",\"disks\":[{\"stack\":\"raw:a\",\"slot\":1}]}",
         "disks[0].slot: must be a number from 2 to 31"},
        {"{\"kernel\":\"k\",\"disks\":{}}", "disks: must be a list of at most 16"},
        {"{\"kernel\":\"k\",\"disks\":[{}]}", "disks[0].stack: is missing: say what the disk is, as in raw:disk.img"},
        {"{\"kernel\":\"k\",\"disks\":[{\"stack\":\"raw:a\"},7]}", "disks[1]: must be an object, {...}"},
        {"{\"kernel\":\"k\",\"disks\":[{\"stack\":\"raw:a\",\"size\":1}]}", "disks[0].size: there is no such key"},
        {"{\"kernel\":\"k\",\"disks\":[{\"stack\":\"raw:a\",\"serial\":\"aaaaaaaaaaaaaaaaaaaaa\"}]}",
         "disks[0].serial: has more than 20 letters"},
        {"{\"kernel\":\"k\",\"nets\":[{\"mac\":\"52:54:00:00:00:01\"}]}",
         "nets[0].tap: say either a tap interface or the fd of a socket"},
        {"{\"kernel\":\"k\",\"nets\":[{\"tap\":\"t\"}]}", "nets[0].mac: is missing"},
        {"{\"kernel\":\"k\",\"nets\":[{\"tap\":\"t\",\"mac\":\"5254\"}]}",
         "nets[0].mac: must be six bytes, as in 52:54:00:12:34:56"},
        {"{\"kernel\":\"k\",\"nets\":[{\"tap\":\"t\",\"mac\":\"52:54: 0:+1:-2:03\"}]}",
         "nets[0].mac: must be six bytes, as in 52:54:00:12:34:56"},
        {"{\"kernel\":\"k\",\"nets\":[{\"fd\":3,\"queues\":2,\"mac\":\"52:54:00:00:00:01\"}]}",
         "nets[0].queues: a socket has one; several go with a tap"},
        {"{\"kernel\":\"k\",\"nets\":[{\"fd\":3,\"mac\":\"52:54:00:00:00:01\"},{\"fd\":3,\"mac\":\"52:54:00:00:00:02\"}"
         "]}",
         "nets[1].fd: 3 is another network's already"},
        {"{\"kernel\":\"k\",\"nets\":[{\"tap\":\"t\",\"mac\":\"53:54:00:00:00:01\"}]}",
         "nets[0].mac: is a multicast address: the first byte must be even"},
        {"{\"kernel\":\"k\",\"vsock-cid\":3}", "vsock-cid: goes with vsock-path"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct guest_config c;
        struct err err = {0};
        assert_int_equal(parse(cases[i].text, &c, &err), -EINVAL);
        assert_string_equal(err.text, cases[i].message);
        assert_null(c.name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_presets), cmocka_unit_test(test_everything),
                                       cmocka_unit_test(test_gaps), cmocka_unit_test(test_mistakes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
