/* The 16550A: what a driver sees, with a host that is fast, slow, or not there. */
#include "tests/unit/isa_fixture.h"

#include <string.h>

#include "hv/machine/serial.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { PORT = SERIAL_COM1, GSI = SERIAL_COM1_GSI };
enum { DATA = PORT, IER = PORT + 1, IIR = PORT + 2, FCR = PORT + 2, LCR = PORT + 3, MCR = PORT + 4 };
enum { LSR = PORT + 5, MSR = PORT + 6, SCR = PORT + 7 };

struct host {
    struct serial_host serial;
    char text[256];
    size_t bytes, limit;
    unsigned rooms;
};

static struct isa_fixture *f;
static struct host host;
static struct serial *serial;

static size_t output(struct serial_host *h, const uint8_t *data, size_t bytes)
{
    struct host *to = CONTAINER_OF(h, struct host, serial);
    bus_assert_locked(f->bus);
    if (bytes > to->limit - to->bytes)
        bytes = to->limit - to->bytes;
    memcpy(to->text + to->bytes, data, bytes);
    to->bytes += bytes;
    return bytes;
}

static void room(struct serial_host *h)
{
    CONTAINER_OF(h, struct host, serial)->rooms++;
}

static int setup(void **state)
{
    struct err err;
    isa_setup(state);
    f = *state;
    host = (struct host){.serial = {.output = output, .room = room}, .limit = sizeof host.text - 1};
    serial = serial_new(f->bus, &f->irq, PORT, GSI, 0, &host.serial, &err);
    return serial ? 0 : -1;
}

static int teardown(void **state)
{
    serial_free(serial);
    return isa_teardown(state);
}

static void input(const char *text)
{
    bus_lock(f->bus);
    serial_input(serial, (const uint8_t *)text, strlen(text));
    bus_unlock(f->bus);
}

static size_t room_now(void)
{
    bus_lock(f->bus);
    size_t n = serial_room(serial);
    bus_unlock(f->bus);
    return n;
}

static void ready(void)
{
    bus_lock(f->bus);
    serial_output_ready(serial);
    bus_unlock(f->bus);
}

/* What Linux's driver does to find out what the chip is. */
static void is_a_16550a(void **state)
{
    (void)state;
    isa_out(f, SCR, 0x5a);
    assert_int_equal(isa_in(f, SCR), 0x5a);
    isa_out(f, IER, 0xff);
    assert_int_equal(isa_in(f, IER), 0x0f);
    isa_out(f, IER, 0);
    assert_int_equal(isa_in(f, IIR), 1);
    isa_out(f, FCR, 1);
    assert_int_equal(isa_in(f, IIR) & 0xc0, 0xc0);
    isa_out(f, LCR, 0x83);
    isa_out(f, DATA, 0x01);
    isa_out(f, IER, 0x02);
    assert_int_equal(isa_in(f, DATA), 0x01);
    assert_int_equal(isa_in(f, IER), 0x02);
    isa_out(f, LCR, 0x03);
    assert_int_equal(isa_in(f, LCR), 3);
    assert_int_equal(isa_in(f, IER), 0);
    isa_out(f, MCR, 0x1a);
    assert_int_equal(isa_in(f, MSR) & 0xf0, 0x90);
    isa_out(f, MCR, 0xff);
    assert_int_equal(isa_in(f, MCR), 0x1f);
    isa_out(f, MCR, 0);
    assert_int_equal(isa_in(f, MSR) & 0xf0, 0xb0);
    isa_out(f, LSR, 0xff); /* read-only */
    isa_out(f, MSR, 0xff);
    assert_int_equal(isa_in(f, LSR), 0x60);
}

static void sends(void **state)
{
    (void)state;
    for (const char *c = "hello"; *c; c++) {
        assert_int_equal(isa_in(f, LSR) & 0x60, 0x60);
        isa_out(f, DATA, (uint8_t)*c);
    }
    assert_string_equal(host.text, "hello");
    bus_write(f->bus, BUS_PORTS, DATA, 2, 0x0f21); /* a wide access is two */
    assert_string_equal(host.text, "hello!");
    assert_int_equal(isa_in(f, IER), 0x0f);
}

static void empty_interrupt(void **state)
{
    (void)state;
    isa_out(f, MCR, 8);
    isa_out(f, IER, 2);
    assert_true(f->line[GSI]); /* enabling it asks: it is empty */
    assert_int_equal(isa_in(f, IIR), 2);
    assert_false(f->line[GSI]); /* reading IIR answers */
    assert_int_equal(isa_in(f, IIR), 1);
    isa_out(f, DATA, 'a');
    assert_true(f->line[GSI]);
    unsigned rises = f->rises[GSI];
    isa_out(f, DATA, 'b');
    assert_int_equal(f->rises[GSI], rises + 1); /* an edge for an edge-triggered pin */
    isa_out(f, MCR, 0);
    assert_false(f->line[GSI]);
}

static void slow_host(void **state)
{
    (void)state;
    host.limit = 3;
    isa_out(f, FCR, 1);
    isa_out(f, MCR, 8);
    isa_out(f, IER, 2);
    isa_in(f, IIR);
    for (unsigned i = 0; i < 3 + 16 + 1; i++) /* the last has no place */
        isa_out(f, DATA, (uint8_t)('a' + i));
    assert_string_equal(host.text, "abc");
    assert_int_equal(isa_in(f, LSR) & 0x60, 0);
    assert_false(f->line[GSI]);
    host.limit = 10;
    ready();
    assert_int_equal(isa_in(f, LSR) & 0x60, 0);
    host.limit = 100;
    ready();
    assert_string_equal(host.text, "abcdefghijklmnopqrs");
    assert_int_equal(isa_in(f, LSR) & 0x60, 0x60);
    assert_true(f->line[GSI]);
    assert_int_equal(isa_in(f, IIR), 0xc2);
    host.limit = host.bytes;
    isa_out(f, DATA, '1');
    isa_out(f, FCR, 5); /* cleared instead of sent */
    assert_int_equal(isa_in(f, LSR) & 0x60, 0x60);
    host.limit = 100;
    ready();
    assert_int_equal(host.bytes, 19);
}

static void receives(void **state)
{
    (void)state;
    assert_int_equal(room_now(), 1);
    isa_out(f, FCR, 0x81); /* trigger at 8 */
    isa_out(f, MCR, 8);
    isa_out(f, IER, 1);
    assert_int_equal(room_now(), 16);
    input("abc");
    assert_true(f->line[GSI]);
    assert_int_equal(isa_in(f, IIR), 0xcc);
    assert_int_equal(isa_in(f, LSR), 0x61);
    input("defgh");
    assert_int_equal(isa_in(f, IIR), 0xc4);
    assert_int_equal(room_now(), 8);
    input("ijklmnop");
    assert_int_equal(room_now(), 0);
    host.rooms = 0;
    for (char c = 'a'; c <= 'p'; c++)
        assert_int_equal(isa_in(f, DATA), c);
    assert_int_equal(host.rooms, 1);
    assert_false(f->line[GSI]);
    assert_int_equal(isa_in(f, LSR), 0x60);
    assert_int_equal(isa_in(f, DATA), 0);
    input("x");
    isa_out(f, FCR, 0x83);
    assert_int_equal(isa_in(f, LSR), 0x60);
}

static void overrun(void **state)
{
    (void)state;
    isa_out(f, MCR, 8);
    isa_out(f, IER, 5);
    input("ab"); /* there is no FIFO */
    assert_int_equal(isa_in(f, IIR), 6);
    assert_int_equal(isa_in(f, LSR), 0x63);
    assert_int_equal(isa_in(f, LSR), 0x61);
    assert_int_equal(isa_in(f, IIR), 4);
    assert_int_equal(isa_in(f, DATA), 'a');
    assert_int_equal(isa_in(f, IIR), 1);
}

static void loops_back(void **state)
{
    (void)state;
    isa_out(f, FCR, 1);
    isa_out(f, IER, 8);
    isa_out(f, MCR, 0x10);
    assert_int_equal(isa_in(f, MSR), 0x0b); /* all gone, and that is a change */
    assert_int_equal(isa_in(f, IIR), 0xc1);
    isa_out(f, MCR, 0x14);
    assert_int_equal(isa_in(f, MSR), 0x40); /* the ring's start is none */
    isa_out(f, MCR, 0x10);
    assert_int_equal(isa_in(f, IIR), 0xc0);
    assert_int_equal(isa_in(f, MSR), 0x04);
    input("x"); /* nobody hears it */
    assert_int_equal(room_now(), 0);
    isa_out(f, DATA, 'y');
    assert_int_equal(isa_in(f, DATA), 'y');
    assert_int_equal(host.bytes, 0);
    isa_out(f, MCR, 0);
    assert_int_equal(room_now(), 16);
}

static void survives(void **state)
{
    struct err err;
    (void)state;
    host.limit = 2;
    struct serial *other = serial_new(f->bus, &f->irq, SERIAL_COM2, GSI, 0, &host.serial, &err);
    isa_out(f, FCR, 0x41);
    isa_out(f, MCR, 8);
    isa_out(f, IER, 3);
    input("input");
    for (unsigned i = 0; i < 6; i++)
        isa_out(f, DATA, (uint8_t)('a' + i));
    isa_round_trip(f, serial_device(serial), serial_device(other));
    f->line[GSI] = false;
    isa_round_trip(f, serial_device(serial), serial_device(serial));
    assert_true(f->line[GSI]); /* the line is set again */
    host.limit = 100;
    bus_lock(f->bus);
    serial_output_ready(other);
    bus_unlock(f->bus);
    assert_string_equal(host.text, "abcdef");
    assert_int_equal(isa_in(f, SERIAL_COM2), 'i');
    serial_free(other);
    bus_lock(f->bus);
    serial_device(serial)->reset(serial_device(serial));
    bus_unlock(f->bus);
    assert_false(f->line[GSI]);
    assert_int_equal(isa_in(f, LSR), 0x60);
    assert_null(serial_new(f->bus, &f->irq, PORT, GSI, 0, NULL, &err)); /* the ports are taken */
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(is_a_16550a), TEST(sends),   TEST(empty_interrupt), TEST(slow_host),
        TEST(receives),    TEST(overrun), TEST(loops_back),      TEST(survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
