/* A whole guest process but for the engine: how it starts, what its guest and its control socket can ask of it, how it
 * is saved and loaded, and every way in which it ends. */
#include "tests/unit/guest_life.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <linux/virtio_blk.h>

#include "hv/board_inside.h"
#include "hv/guest_inside.h"
#include "tests/unit/scripted_engine.h"
#include "tests/unit/virtio_guest.h"

enum { RESET_PORT = 0xcf9, RESET = 6, SLEEP_S5 = 0x2000, FIRMWARE_BYTES = 128 << 10 };

#define BASIC "\"memory\":\"32M\",\"firmware\":\"$/bios\""
#define CONTROL ",\"control\":\"unix:$/control\""
/* Two disks, the first read of which stays away for that long, as every resize. */
#define SLOW(delay)                                                                                                    \
    ",\"disks\":[{\"stack\":[{\"driver\":\"fault\",\"rules\":[{\"op\":\"read\",\"count\":1,\"delay\":\"" delay "\"},"  \
    "{\"op\":\"resize\",\"delay\":\"" delay "\"}]},{\"driver\":\"mem\",\"size\":\"16M\"}]}]"

static void start(struct guest_life *l, const char *json)
{
    guest_life_firmware(l, "bios", FIRMWARE_BYTES);
    if (!guest_life_start(l, json))
        fail_msg("%s", l->err.text);
}

static void soft_off(void)
{
    scripted_out(0, PIIX4_PM_CONTROL, 2, SLEEP_S5);
}

/* ---- what the guest asks for ---- */

static void test_off(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC ",\"vcpus\":2}");
    assert_int_equal(scripted_sets(), 1);
    assert_int_equal(scripted_rip(), 0xfff0);
    scripted_out(1, PIIX4_PM_CONTROL, 2, SLEEP_S5); /* any vCPU may */
    assert_int_equal(guest_life_wait(l), 0);
    assert_true(l->end);
}

static void test_reset(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC CONTROL ",\"vcpus\":2}");
    int fd = guest_life_join(l);
    guest_life_say(l, fd, CONTROL_WATCH, "{}", -1);
    assert_int_equal(guest_life_hear(l, fd), CONTROL_OK);
    for (unsigned i = 1; i <= 5; i++) {
        scripted_out(i % 2, RESET_PORT, 1, RESET);
        assert_int_equal(guest_life_hear(l, fd), CONTROL_EVENT);
        assert_string_equal(l->message.body, "{\"event\":\"reset\",\"state\":\"running\",\"text\":\"by the guest\"}");
        assert_int_equal(scripted_sets(), 1 + i);
    }
    scripted_exit(1, VCPU_SHUTDOWN); /* a triple fault */
    assert_int_equal(guest_life_hear(l, fd), CONTROL_EVENT);
    assert_int_equal(scripted_sets(), 7);
    soft_off();
    assert_int_equal(guest_life_hear(l, fd), CONTROL_EVENT);
    assert_string_equal(l->message.body, "{\"event\":\"off\",\"state\":\"running\",\"text\":\"by the guest\"}");
    assert_int_equal(guest_life_hear(l, fd), -EPIPE);
    close(fd);
    assert_int_equal(guest_life_wait(l), 0);
}

static void test_reset_ends_it(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC ",\"on-reset\":\"exit\"}");
    scripted_out(0, RESET_PORT, 1, RESET);
    assert_int_equal(guest_life_wait(l), 0);
    start(l, "{" BASIC ",\"on-reset\":\"exit\"}");
    scripted_exit(0, VCPU_SHUTDOWN);
    assert_int_equal(guest_life_wait(l), 0);
    assert_int_equal(scripted_sets(), 2);
}

/* Off wins over a reset, whatever comes first, and neither is lost while the guest is paused. */
static void test_off_wins(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC CONTROL ",\"paused\":true,\"vcpus\":2}");
    /* the vCPU has stopped, what it wrote is still on its way: as if it had been paused that moment */
    bus_write(scripted_bus(), BUS_PORTS, RESET_PORT, 1, RESET);
    scripted_wait_sets(2);
    guest_life_until(l, GUEST_PAUSED);
    bus_write(scripted_bus(), BUS_PORTS, PIIX4_PM_CONTROL, 2, SLEEP_S5);
    assert_int_equal(guest_life_wait(l), 0);
}

/* ---- failure ---- */

static void test_failure_ends_it(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC ",\"vcpus\":2}");
    scripted_exit(1, VCPU_FAILED);
    assert_int_equal(guest_life_wait(l), EXIT_FAILURE);
    assert_true(l->end);
}

static void test_failure_waits_for_control(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC CONTROL ",\"vcpus\":2}");
    int fd = guest_life_join(l);
    guest_life_say(l, fd, CONTROL_WATCH, "{}", -1);
    assert_int_equal(guest_life_hear(l, fd), CONTROL_OK);
    scripted_exit(1, VCPU_FAILED);
    assert_int_equal(guest_life_hear(l, fd), CONTROL_EVENT);
    assert_non_null(strstr(l->message.body, "\"event\":\"failed\",\"state\":\"failed\""));
    assert_int_equal(guest_life_ask(l, CONTROL_RESUME, "{}", -1), CONTROL_ERROR);
    assert_non_null(strstr(l->message.body, "resume: not while the guest is failed"));
    unsigned runs = scripted_runs(1);
    assert_int_equal(guest_life_ask(l, CONTROL_RESET, "{}", -1), CONTROL_OK);
    guest_life_until(l, GUEST_RUNNING);
    assert_int_equal(scripted_in(1, PIIX4_PM_CONTROL, 2), 0); /* it runs again */
    assert_true(scripted_runs(1) > runs);
    /* a reset that the engine does not take */
    scripted_refuse_state();
    assert_int_equal(guest_life_ask(l, CONTROL_RESET, "{}", -1), CONTROL_ERROR);
    assert_non_null(strstr(l->message.body, "the engine refuses this state"));
    guest_life_until(l, GUEST_FAILED);
    assert_int_equal(guest_life_ask(l, CONTROL_STOP, "{}", -1), CONTROL_OK);
    assert_int_equal(guest_life_wait(l), 0);
    close(fd);
}

static void test_vcpu_cannot_be_made(void **state)
{
    struct guest_life *l = *state;
    scripted_begin(2);
    guest_life_firmware(l, "bios", FIRMWARE_BYTES);
    assert_false(guest_life_start(l, "{" BASIC CONTROL ",\"vcpus\":4}"));
    assert_string_equal(l->err.text, "vCPU 2 is broken");
}

/* ---- bad files ---- */

static void test_garbage(void **state)
{
    struct guest_life *l = *state;
    guest_life_firmware(l, "bios", FIRMWARE_BYTES);
    assert_false(guest_life_start(l, "{\"memory\":\"32M\",\"kernel\":\"$/bios\"}"));
    char text[256];
    snprintf(text, sizeof text, "kernel %s: it is neither a bzImage nor an ELF file", guest_life_path(l, "bios"));
    assert_string_equal(l->err.text, text);
    assert_false(guest_life_start(l, "{\"memory\":\"32M\",\"load\":\"$/bios\"}"));
    snprintf(text, sizeof text, "load %s: this is not a saved guest", guest_life_path(l, "bios"));
    assert_string_equal(l->err.text, text);
    guest_life_firmware(l, "odd", 4097);
    assert_false(guest_life_start(l, "{\"memory\":\"32M\",\"firmware\":\"$/odd\"}"));
    assert_non_null(strstr(l->err.text, "firmware: "));
    assert_false(guest_life_start(l, "{" BASIC ",\"disks\":[{\"stack\":\"mem:1M\"},{\"stack\":\"raw:$/none\"}]}"));
    assert_int_equal(strncmp(l->err.text, "disks[1]: ", 10), 0);
    assert_false(
        guest_life_start(l, "{" BASIC ",\"nets\":[{\"tap\":\"no-such-interface\",\"mac\":\"52:54:00:1:2:3\"}]}"));
    assert_int_equal(strncmp(l->err.text, "nets[0]: ", 9), 0);
}

/* ---- control ---- */

static void test_pause_and_resume(void **state)
{
    struct guest_life *l = *state;
    char first[256];
    start(l, "{" BASIC CONTROL ",\"name\":\"web1\"}");
    assert_int_equal(l->files.control, -1); /* the guest's now, to be closed once */
    assert_int_equal(guest_life_ask(l, CONTROL_PAUSE, "{}", -1), CONTROL_OK);
    assert_int_equal(guest_life_ask(l, CONTROL_STATUS, "{}", -1), CONTROL_OK);
    assert_non_null(strstr(l->message.body, "\"name\":\"web1\",\"state\":\"paused\",\"engine\":\"scripted\""));
    snprintf(first, sizeof first, "%s", strstr(l->message.body, "guest-seconds"));
    assert_int_equal(guest_life_ask(l, CONTROL_STATUS, "{}", -1), CONTROL_OK);
    assert_string_equal(strstr(l->message.body, "guest-seconds"), first);
    assert_int_equal(guest_life_ask(l, CONTROL_PAUSE, "{}", -1), CONTROL_OK); /* again: nothing */
    assert_int_equal(guest_life_ask(l, CONTROL_POWERDOWN, "{}", -1), CONTROL_ERROR);
    assert_int_equal(guest_life_ask(l, CONTROL_RESUME, "{}", -1), CONTROL_OK);
    assert_int_equal(scripted_in(0, PIIX4_PM_EVENT, 2), 0);
    assert_int_equal(guest_life_ask(l, CONTROL_POWERDOWN, "{}", -1), CONTROL_OK);
    assert_int_equal(scripted_in(0, PIIX4_PM_EVENT, 2), 0x100); /* the button */
    assert_int_equal(guest_life_ask(l, CONTROL_STATS, "{}", -1), CONTROL_OK);
    assert_non_null(strstr(l->message.body, "\"exits\":7"));
    assert_int_equal(guest_life_ask(l, CONTROL_BALLOON, "{\"bytes\":16777216}", -1), CONTROL_OK);
    assert_int_equal(guest_life_ask(l, CONTROL_BALLOON, "{\"bytes\":0}", -1), CONTROL_ERROR);
    assert_int_equal(guest_life_ask(l, CONTROL_BALLOON, "{\"bytes\":33554433}", -1), CONTROL_ERROR);
    assert_int_equal(guest_life_ask(l, CONTROL_RESIZE, "{\"disk\":0,\"bytes\":1}", -1), CONTROL_ERROR);
    assert_non_null(strstr(l->message.body, "there are 0 disks"));
    assert_int_equal(guest_life_ask(l, CONTROL_CONSOLE, "{}", STDIN_FILENO), CONTROL_ERROR);
    assert_int_equal(guest_life_ask(l, CONTROL_STOP, "{}", -1), CONTROL_OK);
    assert_int_equal(guest_life_wait(l), 0);
}

/* Who watches and asks hears its answer once, then the event that it caused. */
static void test_watcher_asks(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC CONTROL "}");
    int fd = guest_life_join(l);
    guest_life_say(l, fd, CONTROL_WATCH, "{}", -1);
    assert_int_equal(guest_life_hear(l, fd), CONTROL_OK);
    for (unsigned i = 0; i < 20; i++) {
        guest_life_say(l, fd, i % 2 ? CONTROL_RESUME : CONTROL_PAUSE, "{}", -1);
        assert_int_equal(guest_life_hear(l, fd), CONTROL_OK);
        assert_int_equal(guest_life_hear(l, fd), CONTROL_EVENT);
        assert_non_null(strstr(l->message.body, i % 2 ? "\"event\":\"resume\"" : "\"event\":\"pause\""));
    }
    guest_life_say(l, fd, CONTROL_STATUS, "{}", -1);
    assert_int_equal(guest_life_hear(l, fd), CONTROL_OK);
    assert_non_null(strstr(l->message.body, "guest-seconds"));
    close(fd);
}

/* One that never reads: it neither stops the others nor the end. */
static void test_deaf_watcher(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC CONTROL "}");
    int fd = guest_life_join(l), other = guest_life_join(l);
    guest_life_say(l, fd, CONTROL_WATCH, "{}", -1);
    for (unsigned i = 0; i < 1000; i++) {
        guest_life_say(l, other, i % 2 ? CONTROL_RESUME : CONTROL_PAUSE, "{}", -1);
        assert_int_equal(guest_life_hear(l, other), CONTROL_OK);
    }
    assert_int_equal(guest_life_ask(l, CONTROL_STOP, "{}", -1), CONTROL_OK);
    assert_int_equal(guest_life_wait(l), 0);
    close(fd);
    close(other);
}

/* ---- saving and loading ---- */

#define EVERYTHING                                                                                                     \
    BASIC CONTROL ",\"vcpus\":3,\"console\":\"unix:$/console\",\"virtio-console\":\"unix:$/hvc0\","                    \
                  "\"vsock-cid\":3,\"vsock-path\":\"$/vsock\","                                                        \
                  "\"disks\":[{\"stack\":\"mem:16M\",\"queues\":2},{\"stack\":\"mem:4M\",\"read-only\":true}],"        \
                  "\"nets\":[{\"fd\":%d,\"mac\":\"52:54:00:12:34:56\",\"mtu\":1400}]"

static void start_everything(struct guest_life *l, const char *more)
{
    char json[2048];
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
    close(pair[1]); /* nobody is on the other side of the cable; the guest closes its own */
    snprintf(json, sizeof json, "{" EVERYTHING "%s}", pair[0], more);
    start(l, json);
}

static void poke_devices(void)
{
    static const struct {
        uint16_t port;
        uint8_t value;
    } writes[] = {{0x43, 0x34},  {0x40, 0x12},  {0x40, 0x34}, /* PIT */
                  {0x70, 0x0b},  {0x71, 0x42},                /* RTC */
                  {0x61, 0x01},  {0x92, 0x02},                /* gates */
                  {0x3fb, 0x83}, {0x3f8, 0x01}, {0x3fb, 0x03}, {0x3fc, 0x0b},
                  {0x3f9, 0x05}, {0x3f8, 'h'},  {0x64, 0x60},  {0x60, 0x45}, /* keyboard controller */
                  {0xb2, 0xf1}};                                             /* ACPI on */
    for (unsigned i = 0; i < sizeof writes / sizeof *writes; i++)
        scripted_out(i % 3, writes[i].port, 1, writes[i].value);
    scripted_out(0, 0x510, 2, 0x19); /* fw_cfg: its list of files, half read */
    assert_int_equal(scripted_in(0, 0x511, 1), 0);
    for (unsigned slot = 0; slot < 9; slot++) { /* all of PCI */
        scripted_out(1, 0xcf8, 4, 0x80000000u | slot << 11 | 4);
        scripted_out(1, 0xcfc, 2, 7);
    }
}

static void assert_equal_files(struct guest_life *l, const char *a, const char *b)
{
    struct stat one, two;
    char command[256];
    assert_int_equal(stat(guest_life_path(l, a), &one), 0);
    assert_int_equal(stat(guest_life_path(l, b), &two), 0);
    assert_int_equal(one.st_size, two.st_size);
    snprintf(command, sizeof command, "cmp %s/%s %s/%s", l->directory, a, l->directory, b);
    assert_int_equal(system(command), 0);
}

static void test_save_and_load(void **state)
{
    struct guest_life *l = *state;
    start_everything(l, "");
    poke_devices();
    assert_int_equal(guest_life_save(l, "first"), CONTROL_OK);
    guest_life_until(l, GUEST_PAUSED);
    assert_int_equal(guest_life_save(l, "again"), CONTROL_OK); /* standing: the same at any time */
    assert_equal_files(l, "first", "again");
    assert_int_equal(guest_life_ask(l, CONTROL_RESUME, "{}", -1), CONTROL_OK); /* it may also go on here */
    assert_int_equal(scripted_in(2, 0x3f9, 1), 0x05);
    assert_int_equal(guest_life_ask(l, CONTROL_STOP, "{}", -1), CONTROL_OK);
    assert_int_equal(guest_life_wait(l), 0);

    start_everything(l, ",\"paused\":true,\"load\":\"$/first\"");
    assert_int_equal(guest_life_save(l, "second"), CONTROL_OK);
    assert_equal_files(l, "first", "second");
    assert_int_equal(guest_life_ask(l, CONTROL_RESUME, "{}", -1), CONTROL_OK);
    assert_int_equal(scripted_in(1, 0x3f9, 1), 0x05);
    scripted_out(0, RESET_PORT, 1, RESET); /* and it can be reset: firmware is there */
    guest_life_until(l, GUEST_RUNNING);
    soft_off();
    assert_int_equal(guest_life_wait(l), 0);
}

static void refuses(struct guest_life *l, const char *json, const char *why)
{
    assert_false(guest_life_start(l, json));
    if (!strstr(l->err.text, why))
        fail_msg("'%s' is not in '%s'", why, l->err.text);
    assert_non_null(strstr(l->err.text, guest_life_path(l, "saved")));
}

static void test_load_into_another(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC CONTROL ",\"vcpus\":2,\"disks\":[{\"stack\":\"mem:1M\"}]}");
    assert_int_equal(guest_life_save(l, "saved"), CONTROL_OK);
    assert_int_equal(guest_life_ask(l, CONTROL_STOP, "{}", -1), CONTROL_OK);
    assert_int_equal(guest_life_wait(l), 0);
#define LOAD ",\"load\":\"$/saved\""
#define DISK ",\"disks\":[{\"stack\":\"mem:1M\"}]"
    refuses(l, "{\"memory\":\"64M\",\"firmware\":\"$/bios\",\"vcpus\":2" DISK LOAD "}", "start it with as much");
    refuses(l, "{" BASIC ",\"vcpus\":1" DISK LOAD "}", "another number of vCPUs");
    refuses(l, "{" BASIC ",\"vcpus\":3" DISK LOAD "}", "another number of vCPUs");
    refuses(l, "{" BASIC ",\"vcpus\":2" LOAD "}", "does not have");
    refuses(l, "{" BASIC ",\"vcpus\":2,\"rng\":false" DISK LOAD "}", "does not have");
    refuses(l, "{\"memory\":\"32M\",\"vcpus\":2" DISK LOAD "}", "start it with the same firmware");
    refuses(l, "{" BASIC ",\"vcpus\":2,\"disks\":[{\"stack\":\"mem:1M\"},{\"stack\":\"mem:1M\"}]" LOAD "}",
            "the state does not have this device");
    assert_int_equal(truncate(guest_life_path(l, "saved"), 5000), 0);
    refuses(l, "{" BASIC ",\"vcpus\":2" DISK LOAD "}", "damaged");
}

/* Two reads by a driver, on a vCPU: the first stays in flight, and the second, behind it, comes back. */
static void read_from_disk(void *context)
{
    struct virtio_guest *g = context;
    virtio_guest_find(g, BOARD_FIRST_SLOT, false);
    virtio_guest_start(g, 0);
    for (unsigned i = 0; i < 2; i++) {
        struct guest_buffer header = {virtio_guest_alloc(g, 16), 16};
        struct guest_buffer data[2] = {{virtio_guest_alloc(g, 512), 512}, {virtio_guest_alloc(g, 1), 1}};
        memset(virtio_guest_at(g, header.gpa, 16), 0, 16); /* VIRTIO_BLK_T_IN, sector 0 */
        virtio_guest_add(g, 0, &header, 1, data, 2);
    }
    virtio_guest_kick(g, 0);
    virtio_guest_wait(g, 0, NULL);
}

static void start_slow(struct guest_life *l, const char *json)
{
    static struct virtio_guest driver;
    start(l, json);
    driver = (struct virtio_guest){
        .bus = l->guest->bus, .memory = l->guest->memory, .pci = l->guest->board->pci, .next_buffer = GUEST_BUFFERS};
    scripted_do(0, read_from_disk, &driver);
}

/* Asks for a save, which waits for the disk, and returns once it is under way. */
static int begin_save(struct guest_life *l, const char *name)
{
    int fd = guest_life_join(l), file = open(guest_life_path(l, name), O_RDWR | O_CREAT, 0600);
    guest_life_say(l, fd, CONTROL_SAVE, "{}", file);
    close(file);
    while (guest_life_ask(l, CONTROL_BALLOON, "{\"bytes\":1048576}", -1) == CONTROL_OK)
        sched_yield();
    assert_non_null(strstr(l->message.body, "not while the guest is being saved or reset"));
    return fd;
}

/* What the guest has asked for when it is saved comes true here, and is in no file. */
static void test_wish_while_saving(void **state)
{
    struct guest_life *l = *state;
    start_slow(l, "{" BASIC CONTROL ",\"vcpus\":2" SLOW("2s") "}");
    int fd = begin_save(l, "file");
    bus_write(scripted_bus(), BUS_PORTS, RESET_PORT, 1, RESET);
    for (unsigned i = 0; i < 10; i++) /* the main loop has seen it for sure */
        assert_int_equal(guest_life_ask(l, CONTROL_STATUS, "{}", -1), CONTROL_OK);
    assert_int_equal(scripted_sets(), 1);
    assert_int_equal(guest_life_hear(l, fd), CONTROL_ERROR);
    assert_non_null(strstr(l->message.body, "is resetting or switching itself off at this moment"));
    close(fd);
    scripted_wait_sets(2);
    assert_int_equal(guest_life_save(l, "later"), CONTROL_OK);
    assert_int_equal(guest_life_ask(l, CONTROL_STOP, "{}", -1), CONTROL_OK);
    assert_int_equal(guest_life_wait(l), 0);
}

/* ---- ends ---- */

static void test_signal(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC ",\"vcpus\":2}");
    pthread_kill(l->thread, SIGTERM);
    assert_int_equal(guest_life_wait(l), 0);
    start(l, "{" BASIC CONTROL ",\"paused\":true}");
    pthread_kill(l->thread, SIGINT);
    pthread_kill(l->thread, SIGTERM); /* more than one */
    assert_int_equal(guest_life_wait(l), 0);
    assert_true(l->end);
}

/* A reset that comes with the end finds nobody: a turn of the loop for what is still to be closed brings it. */
static void test_reset_at_the_end(void **state)
{
    struct guest_life *l = *state;
    scripted_out_at_end(RESET_PORT, RESET);
    start(l, "{" BASIC ",\"rng\":false,\"balloon\":false,\"console\":\"unix:$/console\"}");
    soft_off();
    assert_int_equal(guest_life_wait(l), 0);
    assert_int_equal(scripted_sets(), 1);
}

static void test_terminal(void **state)
{
    struct guest_life *l = *state;
    struct termios before, during, after;
    int master, slave, in = dup(STDIN_FILENO), out = dup(STDOUT_FILENO);
    fflush(stdout);
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    assert_int_equal(tcgetattr(slave, &before), 0);
    dup2(slave, STDIN_FILENO);
    dup2(slave, STDOUT_FILENO);
    start(l, "{" BASIC ",\"console\":\"stdio\"}");
    assert_int_equal(tcgetattr(slave, &during), 0);
    scripted_out(0, 0x3f8, 1, 'h');
    char byte;
    assert_int_equal(read(master, &byte, 1), 1);
    assert_int_equal(byte, 'h');
    assert_int_equal(write(master, "abc\001\001\001x", 7), 7);
    int rc = guest_life_wait(l);
    assert_int_equal(tcgetattr(slave, &after), 0);
    fflush(stdout);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    close(in);
    close(out);
    close(master);
    close(slave);
    assert_int_equal(rc, 0);
    assert_true(during.c_lflag != before.c_lflag);
    assert_int_equal(after.c_lflag, before.c_lflag);
}

/* ---- a disk that never answers ---- */

/* In a child, because what such a guest leaves behind goes with its process: exits with 0 if all was well. */
static void in_a_child(struct guest_life *l, void (*run)(struct guest_life *l))
{
    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        alarm(60);
        start_slow(l, "{" BASIC CONTROL ",\"vcpus\":2" SLOW("1h") "}");
        run(l);
        _exit(guest_life_wait(l) == 0 && !l->end ? 0 : 3);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void stop(struct guest_life *l)
{
    if (guest_life_ask(l, CONTROL_STOP, "{}", -1) != CONTROL_OK)
        _exit(4);
}

static void terminate(struct guest_life *l)
{
    pthread_kill(l->thread, SIGTERM);
}

/* In the middle of a save, which waits for the disk: only the end ends it. */
static void stop_while_saving(struct guest_life *l)
{
    int fd = begin_save(l, "file");
    bus_write(scripted_bus(), BUS_PORTS, RESET_PORT, 1, RESET);
    stop(l);
    if (guest_life_hear(l, fd) != CONTROL_ERROR || !strstr(l->message.body, "the guest ended"))
        _exit(6);
}

static void stop_while_resizing(struct guest_life *l)
{
    int fd = guest_life_join(l);
    guest_life_say(l, fd, CONTROL_RESIZE, "{\"disk\":0,\"bytes\":33554432}", -1);
    while (guest_life_ask(l, CONTROL_RESIZE, "{\"disk\":0,\"bytes\":1}", -1) != CONTROL_ERROR ||
           !strstr(l->message.body, "is being resized already"))
        sched_yield();
    stop(l);
    if (guest_life_hear(l, fd) != CONTROL_ERROR || !strstr(l->message.body, "the guest ended"))
        _exit(7);
}

/* Who asks for what needs the disk is told, and the guest goes on. */
static void lost_disk_is_named(struct guest_life *l)
{
    const char *text = "disks[0] has not answered for 5 seconds";
    if (guest_life_save(l, "file") != CONTROL_ERROR || !strstr(l->message.body, text))
        _exit(8);
    if (guest_life_ask(l, CONTROL_RESET, "{}", -1) != CONTROL_ERROR || !strstr(l->message.body, text))
        _exit(9);
    guest_life_until(l, GUEST_RUNNING);
    if (scripted_in(1, PIIX4_PM_CONTROL, 2) != 0 || scripted_sets() != 1)
        _exit(10);
    stop(l);
}

static void test_stuck_disk(void **state)
{
    in_a_child(*state, lost_disk_is_named);
    in_a_child(*state, stop);
    in_a_child(*state, terminate);
    in_a_child(*state, stop_while_saving);
    in_a_child(*state, stop_while_resizing);
}

/* ---- resizing ---- */

static void test_resize(void **state)
{
    struct guest_life *l = *state;
    char json[1024];
    int disk = open(guest_life_path(l, "disk"), O_RDWR | O_CREAT, 0600); /* memory has no room to grow everywhere */
    assert_int_equal(ftruncate(disk, 1 << 20), 0);
    close(disk);
    snprintf(json, sizeof json,
             "{" BASIC CONTROL ",\"disks\":[{\"stack\":[{\"driver\":\"fault\",\"rules\":[{\"op\":\"resize\",\"delay\":"
             "\"3s\"}]},{\"driver\":\"raw\",\"file\":\"%s\"}]}]}",
             guest_life_path(l, "disk"));
    start(l, json);
    guest_life_until(l, GUEST_RUNNING);
    int one = guest_life_join(l), two = guest_life_join(l);
    guest_life_say(l, one, CONTROL_RESIZE, "{\"disk\":0,\"bytes\":2097152}", -1);
    guest_life_say(l, two, CONTROL_RESIZE, "{\"disk\":0,\"bytes\":4194304}", -1);
    char said[256];
    int first = guest_life_hear(l, one);
    snprintf(said, sizeof said, "%.200s", (const char *)l->message.body);
    int second = guest_life_hear(l, two);
    if (first + second != CONTROL_OK + CONTROL_ERROR) /* the one that came while the other was under way */
        fail_msg("%s and %s", said, l->message.body);
    assert_int_equal(guest_life_ask(l, CONTROL_STATS, "{}", -1), CONTROL_OK);
    assert_non_null(strstr(l->message.body, first == CONTROL_OK ? "\"size\":2097152" : "\"size\":4194304"));
    assert_int_equal(guest_life_ask(l, CONTROL_STOP, "{}", -1), CONTROL_OK);
    assert_int_equal(guest_life_wait(l), 0);
    close(one);
    close(two);
}

int main(void)
{
    sigset_t set; /* as in the guest's own process: they are its to take */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_life_setup, guest_life_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_off),
        TEST(test_reset),
        TEST(test_reset_ends_it),
        TEST(test_off_wins),
        TEST(test_failure_ends_it),
        TEST(test_failure_waits_for_control),
        TEST(test_vcpu_cannot_be_made),
        TEST(test_garbage),
        TEST(test_pause_and_resume),
        TEST(test_watcher_asks),
        TEST(test_deaf_watcher),
        TEST(test_save_and_load),
        TEST(test_load_into_another),
        TEST(test_wish_while_saving),
        TEST(test_signal),
        TEST(test_reset_at_the_end),
        TEST(test_terminal),
        TEST(test_stuck_disk),
        TEST(test_resize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
