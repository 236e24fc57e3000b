/* What sits on ports: timers, clock, keyboard controller, serial port with its console, firmware's debug output. */
#include <stdlib.h>
#include <string.h>

#include "hv/board_inside.h"
#include "hv/bus.h"
#include "hv/memory.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

/* ---- the serial port and its console ---- */

static size_t serial_prints(struct serial_host *host, const uint8_t *data, size_t bytes)
{
    struct board_serial *s = CONTAINER_OF(host, struct board_serial, host);
    return s->console ? console_write(s->console, data, bytes) : bytes;
}

static void serial_has_room(struct serial_host *host)
{
    struct board_serial *s = CONTAINER_OF(host, struct board_serial, host);
    if (s->console)
        console_room_again(s->console);
}

static size_t room(struct console_guest *guest)
{
    return serial_room(CONTAINER_OF(guest, struct board_serial, guest)->port);
}

static void input(struct console_guest *guest, const uint8_t *data, size_t bytes)
{
    serial_input(CONTAINER_OF(guest, struct board_serial, guest)->port, data, bytes);
}

static void writable(struct console_guest *guest)
{
    serial_output_ready(CONTAINER_OF(guest, struct board_serial, guest)->port);
}

static int build_serial(struct board *b, struct err *err)
{
    const struct board_parts *p = &b->parts;
    struct board_serial *s = &b->serial;
    s->host = (struct serial_host){serial_prints, serial_has_room};
    s->guest = (struct console_guest){room, input, writable};
    s->port = serial_new(p->bus, p->vm->irq, SERIAL_COM1, SERIAL_COM1_GSI, 0, &s->host, err);
    if (!s->port)
        return -1;
    if (p->config->console.kind == GUEST_CONSOLE_NONE)
        return 0;
    s->console = console_new(p->loop, p->bus, &p->config->console, "console", p->quit, p->context, err);
    return s->console ? 0 : -1;
}

void board_serial_listen(struct board *b)
{
    if (b->serial.console)
        console_attach(b->serial.console, &b->serial.guest);
}

void board_serial_goes_on(struct board *b)
{
    bus_lock(b->parts.bus);
    serial_output_ready(b->serial.port);
    bus_unlock(b->parts.bus);
}

/* ---- what firmware says ---- */

/* A line of SeaBIOS at a time, to the log; what is longer than the buffer is cut there. */
static void debug_output(struct debugcon_host *host, uint8_t byte)
{
    struct board_debug *d = CONTAINER_OF(host, struct board_debug, host);
    if (byte != '\n' && d->bytes < sizeof d->line - 1) {
        d->line[d->bytes++] = (char)(byte >= ' ' && byte < 0x7f ? byte : '.');
        return;
    }
    d->line[d->bytes] = 0;
    if (d->bytes)
        log_limited(&d->limit, LOG_LEVEL_DEBUG, "firmware: %s", d->line);
    d->bytes = 0;
}

/* ---- all of them ---- */

static void add(struct board *b, struct device *device)
{
    TAILQ_INSERT_TAIL(&b->devices, device, link);
}

/* RAM below and above the gap, as CMOS tells it. */
static void describe_memory(struct board *b)
{
    uint64_t total = memory_size(b->parts.memory);
    uint64_t low = total < memory_low_end ? total : memory_low_end;
    rtc_describe(b->rtc, low, total - low, b->parts.config->vcpus);
}

int board_build_chips(struct board *b, struct err *err)
{
    const struct board_parts *p = &b->parts;
    struct irq *irq = p->vm->irq;
    b->pit = pit_new(p->bus, irq, p->timers, err);
    b->port61 = b->pit ? port61_new(p->bus, p->timers, b->pit, err) : NULL;
    b->rtc = b->port61 ? rtc_new(p->bus, irq, p->timers, NULL, err) : NULL;
    b->i8042 = b->rtc ? i8042_new(p->bus, irq, &b->reset, err) : NULL;
    b->port92 = b->i8042 ? port92_new(p->bus, &b->reset, err) : NULL;
    b->debug.host.output = debug_output;
    b->debug.limit = (struct log_limit){.burst = 1000, .interval_ms = 1000};
    b->pvpanic = b->port92 ? pvpanic_new(p->bus, &b->alarm, err) : NULL;
    b->debug.port = b->pvpanic ? debugcon_new(p->bus, &b->debug.host, err) : NULL;
    if (!b->debug.port || build_serial(b, err))
        return -1;
    describe_memory(b);
    struct device *devices[] = {pit_device(b->pit),           port61_device(b->port61), rtc_device(b->rtc),
                                i8042_device(b->i8042),       port92_device(b->port92), pvpanic_device(b->pvpanic),
                                serial_device(b->serial.port)};
    for (unsigned i = 0; i < sizeof devices / sizeof *devices; i++)
        add(b, devices[i]);
    return 0;
}

void board_let_go_chips(struct board *b)
{
    if (b->serial.port)
        board_serial_goes_on(b);
    console_free(b->serial.console);
    b->serial.console = NULL;
}

void board_free_chips(struct board *b)
{
    board_let_go_chips(b);
    serial_free(b->serial.port);
    debugcon_free(b->debug.port);
    pvpanic_free(b->pvpanic);
    port92_free(b->port92);
    i8042_free(b->i8042);
    rtc_free(b->rtc);
    port61_free(b->port61);
    pit_free(b->pit);
}
