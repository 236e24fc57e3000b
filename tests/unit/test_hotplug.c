/* Disks and networks that come and go while a guest runs: what the guest sees in its slots and hot-plug registers, what
 * it can refuse, and every way in which a device leaves. */
#include "tests/unit/guest_life.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hv/board_inside.h"
#include "hv/guest_inside.h"
#include "tests/unit/scripted_engine.h"
#include "tests/unit/virtio_guest.h"

enum { FIRMWARE_BYTES = 128 << 10, DISK_BYTES = 1 << 20, UP = 0, DOWN = 4, EJECT = 8, FIRST_FREE = 4 };

#define BASIC "{\"memory\":\"32M\",\"firmware\":\"$/bios\",\"vcpus\":2,\"control\":\"unix:$/control\""
#define RAW "{\"stack\":[{\"driver\":\"raw\",\"file\":\"disk\",\"fd\":0}],\"serial\":\"data\"}"

struct plugs {
    struct guest_life *l;
    int watcher;
    struct virtio_guest driver;
};

static struct plugs start(void **state, const char *json)
{
    struct plugs f = {.l = *state};
    guest_life_firmware(f.l, "bios", FIRMWARE_BYTES);
    if (!guest_life_start(f.l, json))
        fail_msg("%s", f.l->err.text);
    f.watcher = guest_life_join(f.l);
    guest_life_say(f.l, f.watcher, CONTROL_WATCH, "{}", -1);
    assert_int_equal(guest_life_hear(f.l, f.watcher), CONTROL_OK);
    return f;
}

static void end(struct plugs *f)
{
    assert_int_equal(guest_life_ask(f->l, CONTROL_STOP, "{}", -1), CONTROL_OK);
    assert_int_equal(guest_life_wait(f->l), 0);
    assert_true(f->l->end);
    close(f->watcher);
}

static uint32_t hotplug(unsigned port)
{
    return scripted_in(0, (uint16_t)(PCI_HOTPLUG_PORTS + port), 4);
}

static void eject(unsigned slot)
{
    scripted_out(1, PCI_HOTPLUG_PORTS + EJECT, 4, 1u << slot);
}

static uint32_t identity(unsigned slot)
{
    scripted_out(0, 0xcf8, 4, 0x80000000u | slot << 11);
    return scripted_in(0, 0xcfc, 4);
}

static void expect_event(struct plugs *f, const char *event, const char *text)
{
    char both[128];
    snprintf(both, sizeof both, "\"event\":\"%s\",\"state\":\"running\",\"text\":\"%s\"", event, text);
    assert_int_equal(guest_life_hear(f->l, f->watcher), CONTROL_EVENT);
    if (!strstr(f->l->message.body, both))
        fail_msg("%s is not %s", f->l->message.body, both);
}

static int make_file(struct plugs *f, int flags)
{
    int fd = open(guest_life_path(f->l, "disk"), O_RDWR | O_CREAT, 0600);
    assert_int_equal(ftruncate(fd, DISK_BYTES), 0);
    close(fd);
    return open(guest_life_path(f->l, "disk"), flags | O_CLOEXEC);
}

static int add_file(struct plugs *f)
{
    int fd = make_file(f, O_RDWR), answer = guest_life_ask(f->l, CONTROL_DISK_ADD, RAW, fd);
    close(fd);
    return answer;
}

static void expect_text(struct plugs *f, const char *text)
{
    if (!strstr(f->l->message.body, text))
        fail_msg("'%s' is not in %s", text, f->l->message.body);
}

/* ---- a driver, on a vCPU ---- */

/* Writes a sector of the disk, without waiting. */
static void write_sector(struct virtio_guest *g, uint8_t sector)
{
    struct guest_buffer out[2] = {{virtio_guest_alloc(g, 16), 16}, {virtio_guest_alloc(g, 512), 512}};
    struct guest_buffer status = {virtio_guest_alloc(g, 1), 1};
    memset(virtio_guest_at(g, out[0].gpa, 16), 0, 16);
    *virtio_guest_at(g, out[0].gpa, 1) = 1; /* VIRTIO_BLK_T_OUT */
    *virtio_guest_at(g, out[0].gpa + 8, 1) = sector;
    memset(virtio_guest_at(g, out[1].gpa, 512), 'w', 512);
    virtio_guest_add(g, 0, out, 2, &status, 1);
    virtio_guest_kick(g, 0);
}

static void write_and_wait(void *context)
{
    struct virtio_guest *g = context;
    virtio_guest_find(g, g->slot, false);
    virtio_guest_start(g, 0);
    write_sector(g, 0);
    virtio_guest_wait(g, 0, NULL);
}

/* Two, of which the first takes its time: it is in flight when the second is done. */
static void begin_write(void *context)
{
    struct virtio_guest *g = context;
    virtio_guest_find(g, g->slot, false);
    virtio_guest_start(g, 0);
    write_sector(g, 1);
    write_sector(g, 0);
    virtio_guest_wait(g, 0, NULL);
}

static void drive(struct plugs *f, unsigned slot, void (*run)(void *context))
{
    struct guest *g = f->l->guest;
    f->driver = (struct virtio_guest){
        .bus = g->bus, .memory = g->memory, .pci = g->board->pci, .slot = slot, .next_buffer = GUEST_BUFFERS};
    scripted_do(0, run, &f->driver);
}

/* ---- disks ---- */

static void test_disk_comes_and_goes(void **state)
{
    struct plugs f = start(state, BASIC "}");
    char byte;
    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(identity(FIRST_FREE), UINT32_MAX);
        assert_int_equal(add_file(&f), CONTROL_OK);
        assert_string_equal(f.l->message.body, "{\"disk\":0}");
        assert_int_equal(identity(FIRST_FREE), 0x10421af4);
        assert_int_equal(hotplug(UP), 1u << FIRST_FREE);
        assert_int_equal(hotplug(UP), 0);
        drive(&f, FIRST_FREE, write_and_wait);
        int fd = make_file(&f, O_RDONLY);
        assert_int_equal(pread(fd, &byte, 1, 511), 1);
        assert_int_equal(byte, 'w');
        close(fd);
        assert_int_equal(guest_life_ask(f.l, CONTROL_DISK_REMOVE, "{\"disk\":0}", -1), CONTROL_OK);
        assert_int_equal(guest_life_ask(f.l, CONTROL_RESIZE, "{\"disk\":0,\"bytes\":2097152}", -1), CONTROL_ERROR);
        expect_text(&f, "is being removed");
        assert_int_equal(hotplug(DOWN), 1u << FIRST_FREE);
        eject(FIRST_FREE);
        assert_int_equal(identity(FIRST_FREE), UINT32_MAX);
        expect_event(&f, "disk-removed", "disks[0]");
    }
    assert_int_equal(guest_life_ask(f.l, CONTROL_DISK_REMOVE, "{\"disk\":0}", -1), CONTROL_ERROR);
    expect_text(&f, "there is no disk 0");
    end(&f);
}

static void test_many(void **state)
{
    struct plugs f = start(state, BASIC ",\"disks\":[{\"stack\":\"mem:1M\"}]}");
    char expected[32];
    for (unsigned i = 1; i < GUEST_DISK_MAX; i++) {
        assert_int_equal(
            guest_life_ask(f.l, CONTROL_DISK_ADD, "{\"stack\":[{\"driver\":\"mem\",\"size\":\"1M\"}]}", -1),
            CONTROL_OK);
        snprintf(expected, sizeof expected, "{\"disk\":%u}", i);
        assert_string_equal(f.l->message.body, expected);
    }
    assert_int_equal(add_file(&f), CONTROL_ERROR);
    expect_text(&f, "the guest has 16 disks: remove one first");
    /* one that was there from the start can go, too */
    assert_int_equal(guest_life_ask(f.l, CONTROL_DISK_REMOVE, "{\"disk\":0}", -1), CONTROL_OK);
    eject(BOARD_FIRST_SLOT);
    expect_event(&f, "disk-removed", "disks[0]");
    assert_int_equal(add_file(&f), CONTROL_OK);
    assert_string_equal(f.l->message.body, "{\"disk\":0}");
    assert_int_equal(identity(BOARD_FIRST_SLOT), 0x10421af4);
    end(&f);
}

static void test_refused(void **state)
{
    static const struct {
        const char *body;
        bool file;
        const char *text;
    } cases[] = {
        {"{\"stack\":\"raw:disk\"}", true, "stack: must be a list of layers"},
        {RAW, false, "its file must come with the request"},
        {"{\"stack\":[{\"driver\":\"raw\",\"file\":\"disk\"}]}", true, "its file must come with the request"},
        {"{\"stack\":[{\"driver\":\"raw\",\"file\":\"disk\",\"fd\":1}]}", true, "its file must come with the request"},
        {"{\"stack\":[{\"driver\":\"mem\",\"size\":\"1M\"}]}", true, "a file came that no layer names"},
        {"{\"stack\":[{\"driver\":\"mem\",\"size\":\"1M\"}],\"colour\":1}", false, "disk.colour: there is no such key"},
        {"{\"stack\":[{\"driver\":\"tape\"}]}", false, "disks[0]: unknown driver 'tape'"},
        {"{\"stack\":[]}", false, "a stack is an array"},
        {"{}", false, "stack: must be a list of layers"},
    };
    struct plugs f = start(state, BASIC "}");
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = cases[i].file ? make_file(&f, O_RDWR) : -1;
        assert_int_equal(guest_life_ask(f.l, CONTROL_DISK_ADD, cases[i].body, fd), CONTROL_ERROR);
        expect_text(&f, cases[i].text);
        close(fd);
    }
    int fd = make_file(&f, O_RDONLY);
    assert_int_equal(guest_life_ask(f.l, CONTROL_DISK_ADD, RAW, fd), CONTROL_ERROR);
    expect_text(&f, "was opened for reading only");
    close(fd);
    assert_int_equal(identity(FIRST_FREE), UINT32_MAX);
    assert_int_equal(hotplug(UP), 0);
    assert_int_equal(add_file(&f), CONTROL_OK); /* nothing of those is left */
    assert_string_equal(f.l->message.body, "{\"disk\":0}");
    end(&f);
}

/* The guest's own idea: the device waits for the guest's next start. */
static void test_let_go_unasked(void **state)
{
    struct plugs f = start(state, BASIC ",\"disks\":[{\"stack\":\"mem:1M\"}]}");
    eject(BOARD_FIRST_SLOT);
    assert_int_equal(identity(BOARD_FIRST_SLOT), 0x10421af4);
    assert_int_equal(guest_life_ask(f.l, CONTROL_RESET, "{}", -1), CONTROL_OK);
    expect_event(&f, "reset", "by control");
    assert_int_equal(guest_life_ask(f.l, CONTROL_DISK_REMOVE, "{\"disk\":0}", -1), CONTROL_OK);
    assert_int_equal(hotplug(DOWN), 1u << BOARD_FIRST_SLOT); /* what it did before the reset is forgotten */
    assert_int_equal(identity(BOARD_FIRST_SLOT), 0x10421af4);
    eject(BOARD_FIRST_SLOT);
    expect_event(&f, "disk-removed", "disks[0]");
    assert_int_equal(add_file(&f), CONTROL_OK);
    eject(BOARD_FIRST_SLOT);
    assert_int_equal(guest_life_ask(f.l, CONTROL_DISK_REMOVE, "{\"disk\":0}", -1), CONTROL_OK);
    expect_event(&f, "disk-removed", "disks[0]"); /* it is not asked twice */
    end(&f);
}

/* A guest that does not answer keeps a disk until it starts again. */
static void test_reset_removes(void **state)
{
    struct plugs f = start(state, BASIC "}");
    assert_int_equal(add_file(&f), CONTROL_OK);
    drive(&f, FIRST_FREE, write_and_wait);
    assert_int_equal(guest_life_ask(f.l, CONTROL_DISK_REMOVE, "{\"disk\":0}", -1), CONTROL_OK);
    assert_int_equal(guest_life_ask(f.l, CONTROL_RESET, "{}", -1), CONTROL_OK);
    expect_event(&f, "disk-removed", "disks[0]");
    expect_event(&f, "reset", "by control");
    assert_int_equal(identity(FIRST_FREE), UINT32_MAX);
    assert_int_equal(add_file(&f), CONTROL_OK);
    end(&f);
}

/* Ejected with a write in flight: gone for the guest, and let go when the write is done. A save in between waits. */
static void test_eject_in_flight(void **state)
{
    struct plugs f = start(state, BASIC "}");
    int file = make_file(&f, O_RDWR);
    assert_int_equal(
        guest_life_ask(f.l, CONTROL_DISK_ADD,
                       "{\"stack\":[{\"driver\":\"fault\",\"rules\":[{\"op\":\"write\",\"count\":1,\"delay\":\"1s\"}]},"
                       "{\"driver\":\"raw\",\"fd\":0}]}",
                       file),
        CONTROL_OK);
    drive(&f, FIRST_FREE, begin_write);
    assert_int_equal(guest_life_ask(f.l, CONTROL_DISK_REMOVE, "{\"disk\":0}", -1), CONTROL_OK);
    eject(FIRST_FREE);
    assert_int_equal(identity(FIRST_FREE), UINT32_MAX);
    assert_int_equal(guest_life_save(f.l, "saved"), CONTROL_OK);
    expect_event(&f, "disk-removed", "disks[0]");
    char byte = 0;
    assert_int_equal(pread(file, &byte, 1, 512), 1);
    assert_int_equal(byte, 'w');
    close(file);
    end(&f);
}

/* What loads a guest with such a disk says which number and slot it had. */
static void test_saved_with_it(void **state)
{
    static const char without[] = BASIC ",\"load\":\"$/saved\",\"disks\":[{\"stack\":\"mem:1M\"}]}";
    static const char with[] = BASIC ",\"load\":\"$/saved\",\"disks\":[null,{\"stack\":\"mem:1M\",\"slot\":5}]}";
    struct plugs f = start(state, BASIC ",\"disks\":[{\"stack\":\"mem:1M\"}]}");
    assert_int_equal(guest_life_ask(f.l, CONTROL_DISK_ADD, "{\"stack\":[{\"driver\":\"mem\",\"size\":\"1M\"}]}", -1),
                     CONTROL_OK);
    assert_int_equal(identity(5), 0x10421af4); /* behind the disk, the random numbers and the balloon */
    assert_int_equal(guest_life_ask(f.l, CONTROL_DISK_REMOVE, "{\"disk\":0}", -1), CONTROL_OK);
    eject(BOARD_FIRST_SLOT);
    expect_event(&f, "disk-removed", "disks[0]");
    assert_int_equal(guest_life_ask(f.l, CONTROL_STATS, "{}", -1), CONTROL_OK);
    expect_text(&f, "\"disks\":[{\"disk\":1,\"slot\":5,");
    assert_int_equal(guest_life_save(f.l, "saved"), CONTROL_OK);
    end(&f);
    assert_false(guest_life_start(f.l, without));
    f = start(state, with);
    assert_int_equal(identity(5), 0x10421af4);
    end(&f);
}

/* ... and the process may end before. */
static void test_end_in_flight(void **state)
{
    struct plugs f = start(state, BASIC "}");
    assert_int_equal(
        guest_life_ask(
            f.l, CONTROL_DISK_ADD,
            "{\"stack\":[{\"driver\":\"fault\",\"rules\":[{\"op\":\"write\",\"count\":1,\"delay\":\"500ms\"}]}"
            ",{\"driver\":\"mem\",\"size\":\"1M\"}]}",
            -1),
        CONTROL_OK);
    drive(&f, FIRST_FREE, begin_write);
    assert_int_equal(guest_life_ask(f.l, CONTROL_DISK_REMOVE, "{\"disk\":0}", -1), CONTROL_OK);
    eject(FIRST_FREE);
    end(&f);
}

/* ---- networks ---- */

static void test_net(void **state)
{
    struct plugs f = start(state, BASIC "}");
    int pair[2];
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(
        guest_life_ask(f.l, CONTROL_NET_ADD, "{\"fd\":3,\"mac\":\"52:54:00:12:34:56\",\"queues\":2}", pair[0]),
        CONTROL_ERROR);
    assert_int_equal(guest_life_ask(f.l, CONTROL_NET_ADD, "{\"fd\":3}", pair[0]), CONTROL_ERROR);
    expect_text(&f, "net.mac: is missing");
    assert_int_equal(guest_life_ask(f.l, CONTROL_NET_ADD, "{\"fd\":3,\"mac\":\"52:54:00:12:34:56\"}", pair[0]),
                     CONTROL_OK);
    assert_string_equal(f.l->message.body, "{\"net\":0}");
    close(pair[0]);
    assert_int_equal(identity(FIRST_FREE), 0x10411af4);
    assert_int_equal(recv(pair[1], &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN); /* the guest has the other end */
    assert_int_equal(guest_life_ask(f.l, CONTROL_STATS, "{}", -1), CONTROL_OK);
    expect_text(&f, "\"net\":0");
    assert_int_equal(guest_life_ask(f.l, CONTROL_NET_REMOVE, "{\"net\":0}", -1), CONTROL_OK);
    eject(FIRST_FREE);
    expect_event(&f, "net-removed", "nets[0]");
    assert_int_equal(send(pair[1], "x", 1, MSG_NOSIGNAL), -1); /* nobody has it any more */
    close(pair[1]);
    end(&f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_life_setup, guest_life_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_disk_comes_and_goes), TEST(test_many),          TEST(test_refused),
        TEST(test_let_go_unasked),      TEST(test_reset_removes), TEST(test_eject_in_flight),
        TEST(test_end_in_flight),       TEST(test_saved_with_it), TEST(test_net),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
