/* A guest's lease: at its deadline vCPUs stand and devices take nothing, and all goes on when it is extended. */
#include "tests/unit/guest_life.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hv/board_inside.h"
#include "hv/guest_inside.h"
#include "node/base/clock.h"
#include "tests/unit/scripted_engine.h"
#include "tests/unit/virtio_guest.h"

#define BASIC "\"memory\":\"32M\",\"firmware\":\"$/bios\",\"control\":\"unix:$/control\""
#define HOUR_NS UINT64_C(3600000000000)

static void start(struct guest_life *l, const char *json)
{
    guest_life_firmware(l, "bios", 128 << 10);
    if (!guest_life_start(l, json))
        fail_msg("%s", l->err.text);
}

static void lease(struct guest_life *l, uint64_t until_ns)
{
    char body[64];
    snprintf(body, sizeof body, "{\"until_ns\":%llu}", (unsigned long long)until_ns);
    assert_int_equal(guest_life_ask(l, CONTROL_LEASE, body, -1), CONTROL_OK);
}

static bool frozen(struct guest_life *l)
{
    assert_int_equal(guest_life_ask(l, CONTROL_STATUS, "{}", -1), CONTROL_OK);
    return strstr(l->message.body, "\"frozen\":true");
}

static void until_frozen(struct guest_life *l)
{
    while (!frozen(l))
        usleep(1000);
}

static double guest_seconds(struct guest_life *l)
{
    double seconds = 0;
    assert_int_equal(guest_life_ask(l, CONTROL_STATUS, "{}", -1), CONTROL_OK);
    sscanf(strstr(l->message.body, "\"guest-seconds\":"), "\"guest-seconds\":%lf", &seconds);
    return seconds;
}

/* It stands at the deadline and keeps its state; time stands with it. */
static void test_deadline(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC ",\"vcpus\":2}");
    assert_false(frozen(l));
    lease(l, clock_boot_ns() + 20000000);
    until_frozen(l);
    assert_non_null(strstr(l->message.body, "\"state\":\"running\""));
    assert_non_null(strstr(l->message.body, "\"freezes\":1"));
    unsigned runs = scripted_runs(0) + scripted_runs(1);
    double then = guest_seconds(l);
    usleep(20000);
    assert_true(guest_seconds(l) == then);
    assert_int_equal(scripted_runs(0) + scripted_runs(1), runs);
    lease(l, clock_boot_ns() + HOUR_NS);
    assert_false(frozen(l));
    assert_int_equal(scripted_in(0, PIIX4_PM_EVENT, 2), 0); /* waits until the vCPU executes */
    assert_true(guest_seconds(l) >= then);
}

static void test_late_from_the_start(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC ",\"lease-until\":1}");
    assert_true(frozen(l));
    assert_int_equal(scripted_runs(0), 0);
    lease(l, 0); /* it is nobody's business any more when it runs */
    assert_false(frozen(l));
    assert_int_equal(scripted_in(0, PIIX4_PM_EVENT, 2), 0);
}

static void test_never_back(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC "}");
    lease(l, clock_boot_ns() + HOUR_NS);
    lease(l, 1); /* overtaken by the one before */
    assert_non_null(strstr(l->message.body, "\"frozen\":false"));
    assert_int_equal(guest_life_ask(l, CONTROL_LEASE, "{}", -1), CONTROL_ERROR);
    assert_int_equal(guest_life_ask(l, CONTROL_LEASE, "{\"until_ns\":-1}", -1), CONTROL_ERROR);
    assert_int_equal(guest_life_ask(l, CONTROL_LEASE, "{\"until_ns\":\"1\"}", -1), CONTROL_ERROR);
    assert_false(frozen(l));
}

/* Paused and resumed meanwhile: it runs when both let it. */
static void test_pause_meanwhile(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC ",\"lease-until\":1,\"paused\":true}");
    assert_int_equal(guest_life_ask(l, CONTROL_RESUME, "{}", -1), CONTROL_OK);
    guest_life_until(l, GUEST_RUNNING);
    assert_int_equal(scripted_runs(0), 0);
    assert_int_equal(guest_life_ask(l, CONTROL_PAUSE, "{}", -1), CONTROL_OK);
    lease(l, clock_boot_ns() + HOUR_NS);
    assert_int_equal(scripted_runs(0), 0);
    assert_int_equal(guest_life_ask(l, CONTROL_RESUME, "{}", -1), CONTROL_OK);
    assert_int_equal(scripted_in(0, PIIX4_PM_EVENT, 2), 0);
}

static void test_refused_meanwhile(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC ",\"lease-until\":1,\"disks\":[{\"stack\":\"mem:1M\"}]}");
    assert_int_equal(guest_life_save(l, "saved"), CONTROL_ERROR);
    assert_non_null(strstr(l->message.body, "not while the guest is frozen"));
    assert_int_equal(guest_life_ask(l, CONTROL_RESIZE, "{\"disk\":0,\"bytes\":2097152}", -1), CONTROL_ERROR);
    assert_int_equal(guest_life_ask(l, CONTROL_RESET, "{}", -1), CONTROL_ERROR);
    assert_int_equal(guest_life_ask(l, CONTROL_STOP, "{}", -1), CONTROL_OK);
    assert_int_equal(guest_life_wait(l), 0);
}

static void note(struct guest_lease *lease)
{
    (void)lease;
}

/* Who has not turned the loop for long asks: the deadline is one, whether it was heard or not. */
static void test_asked(void **state)
{
    (void)state;
    struct err err;
    struct guest_lease never = {0}, lease = {.changed = note};
    struct loop *loop = loop_new(&err);
    assert_int_equal(guest_lease_begin(&lease, loop, clock_boot_ns() + 1000000, &err), 0);
    usleep(2000);
    assert_false(lease.frozen);
    guest_lease_look(&lease);
    assert_true(lease.frozen);
    guest_lease_end(&lease);
    guest_lease_look(&never);
    assert_false(never.frozen);
    loop_free(loop);
}

/* ---- disks ---- */

static struct virtio_guest driver;

static void find_disk(void *context)
{
    (void)context;
    virtio_guest_find(&driver, BOARD_FIRST_SLOT, false);
    virtio_guest_start(&driver, 0);
}

static void ask_disk(void)
{
    struct guest_buffer header = {virtio_guest_alloc(&driver, 16), 16};
    struct guest_buffer data[2] = {{virtio_guest_alloc(&driver, 512), 512}, {virtio_guest_alloc(&driver, 1), 1}};
    memset(virtio_guest_at(&driver, header.gpa, 16), 0, 16); /* VIRTIO_BLK_T_IN, sector 0 */
    virtio_guest_add(&driver, 0, &header, 1, data, 2);
    virtio_guest_kick(&driver, 0);
}

static void wait_for_disk(void *context)
{
    (void)context;
    virtio_guest_wait(&driver, 0, NULL);
}

static bool disk_was_read(struct guest_life *l)
{
    assert_int_equal(guest_life_ask(l, CONTROL_STATS, "{}", -1), CONTROL_OK);
    return strstr(l->message.body, "\"read\":"); /* operations that were never asked for are left out */
}

/* What the guest has put into a queue is not taken out of it: not by a kick that comes late, either. */
static void test_disk_is_held(void **state)
{
    struct guest_life *l = *state;
    start(l, "{" BASIC ",\"disks\":[{\"stack\":\"mem:1M\"}]}");
    driver = (struct virtio_guest){
        .bus = l->guest->bus, .memory = l->guest->memory, .pci = l->guest->board->pci, .next_buffer = GUEST_BUFFERS};
    scripted_do(0, find_disk, NULL);
    for (unsigned round = 0; round < 3; round++) { /* it can be held again and again */
        lease(l, round ? clock_boot_ns() + 3000000 : clock_boot_ns() + 1);
        until_frozen(l);
        ask_disk();
        usleep(20000);
        if (!round)
            assert_false(disk_was_read(l));
        lease(l, clock_boot_ns() + (round < 2 ? 2000000 : HOUR_NS));
        lease(l, 0);
        scripted_do(0, wait_for_disk, NULL);
        assert_true(disk_was_read(l));
    }
}

int main(void)
{
    scripted_begin(VCPU_MAX);
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_life_setup, guest_life_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_deadline),          TEST(test_late_from_the_start), TEST(test_never_back),
        TEST(test_pause_meanwhile),   TEST(test_refused_meanwhile),   TEST(test_disk_is_held),
        cmocka_unit_test(test_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
