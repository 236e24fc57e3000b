/* See serial.h. Received bytes that are fewer than the FIFO's trigger level are announced at once, as a time-out: there
 * is no line whose silence could be waited for. */
#include "hv/machine/serial.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/bus.h"
#include "hv/device.h"
#include "hv/irq.h"
#include "hv/machine/byte_ports.h"
#include "hv/state.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { PORTS = 8, FIFO_BYTES = 16, VERSION = 1 };

enum serial_register { DATA, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

enum {
    IER_RECEIVED = 1,
    IER_EMPTY = 2,
    IER_LINE = 4,
    IER_MODEM = 8,
    IIR_NONE = 0x01,
    IIR_LINE = 0x06,
    IIR_RECEIVED = 0x04,
    IIR_TIMEOUT = 0x0c,
    IIR_EMPTY = 0x02,
    IIR_MODEM = 0x00,
    IIR_FIFOS = 0xc0,
    FCR_ENABLE = 0x01,
    FCR_CLEAR_RECEIVER = 0x02,
    FCR_CLEAR_TRANSMITTER = 0x04,
    FCR_KEPT = 0xc9,
    LCR_DLAB = 0x80,
    MCR_OUT2 = 0x08, /* lets the interrupt through to the bus */
    MCR_LOOP = 0x10,
    MCR_MASK = 0x1f,
    LSR_READY = 0x01,
    LSR_OVERRUN = 0x02,
    LSR_ERRORS = 0x1e,
    LSR_THR_EMPTY = 0x20,
    LSR_IDLE = 0x40,
    MSR_CONNECTED = 0xb0, /* carrier, data set ready, clear to send */
};

struct serial_fifo {
    uint8_t data[FIFO_BYTES];
    uint8_t count;
};

struct serial {
    struct device device;
    struct bus_region region;
    struct bus *bus;
    struct irq *irq;
    unsigned gsi;
    struct serial_host *host;
    struct serial_fifo received, sending;
    uint8_t ier, fcr, lcr, mcr, msr, scratch;
    uint8_t errors; /* of LSR, until it is read */
    uint16_t divisor;
    bool empty_pending; /* THR has become empty, and IIR did not say so yet */
};

static unsigned depth(const struct serial *s)
{
    return s->fcr & FCR_ENABLE ? FIFO_BYTES : 1;
}

static void take(struct serial_fifo *fifo, size_t n)
{
    fifo->count = (uint8_t)(fifo->count - n);
    memmove(fifo->data, fifo->data + n, fifo->count);
}

/* ---- interrupt ---- */

static unsigned trigger(const struct serial *s)
{
    static const uint8_t levels[4] = {1, 4, 8, 14};
    return s->fcr & FCR_ENABLE ? levels[s->fcr >> 6] : 1;
}

/* What IIR says, FIFO bits apart. */
static uint8_t cause(const struct serial *s)
{
    if (s->ier & IER_LINE && s->errors)
        return IIR_LINE;
    if (s->ier & IER_RECEIVED && s->received.count)
        return s->received.count >= trigger(s) ? IIR_RECEIVED : IIR_TIMEOUT;
    if (s->ier & IER_EMPTY && s->empty_pending)
        return IIR_EMPTY;
    if (s->ier & IER_MODEM && s->msr & 0xf)
        return IIR_MODEM;
    return IIR_NONE;
}

static void update(struct serial *s)
{
    irq_set(s->irq, s->gsi, cause(s) != IIR_NONE && s->mcr & MCR_OUT2 && !(s->mcr & MCR_LOOP));
}

/* ---- bytes ---- */

size_t serial_room(const struct serial *s)
{
    if (s->mcr & MCR_LOOP || s->received.count >= depth(s))
        return 0;
    return depth(s) - s->received.count;
}

static void receive(struct serial *s, const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (s->received.count < depth(s)) {
            s->received.data[s->received.count++] = data[i];
        } else {
            s->errors |= LSR_OVERRUN;
            break;
        }
    }
    update(s);
}

void serial_input(struct serial *s, const uint8_t *data, size_t bytes)
{
    bus_assert_locked(s->bus);
    if (!(s->mcr & MCR_LOOP))
        receive(s, data, bytes);
}

/* Hands on what waits. When the last byte is gone, THR is empty. */
static void drain(struct serial *s)
{
    if (!s->sending.count)
        return;
    size_t n = s->host ? s->host->output(s->host, s->sending.data, s->sending.count) : s->sending.count;
    take(&s->sending, n < s->sending.count ? n : s->sending.count);
    if (!s->sending.count)
        s->empty_pending = true;
    update(s);
}

void serial_output_ready(struct serial *s)
{
    bus_assert_locked(s->bus);
    drain(s);
}

static void transmit(struct serial *s, uint8_t byte)
{
    s->empty_pending = false;
    update(s); /* an edge for the next time it is empty */
    if (s->mcr & MCR_LOOP) {
        s->empty_pending = true;
        receive(s, &byte, 1);
        return;
    }
    if (s->sending.count < depth(s)) /* else the guest did not look: the byte is lost, as on the chip */
        s->sending.data[s->sending.count++] = byte;
    drain(s);
}

/* ---- registers ---- */

static uint8_t read_data(struct serial *s)
{
    if (!s->received.count)
        return 0;
    uint8_t byte = s->received.data[0];
    bool was_full = !serial_room(s);
    take(&s->received, 1);
    update(s);
    if (was_full && serial_room(s) && s->host && s->host->room)
        s->host->room(s->host);
    return byte;
}

static uint8_t read_iir(struct serial *s)
{
    uint8_t iir = cause(s);
    if (iir == IIR_EMPTY) {
        s->empty_pending = false;
        update(s);
    }
    return iir | (s->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t read_lsr(struct serial *s)
{
    drain(s);
    uint8_t lsr = s->errors | (s->received.count ? LSR_READY : 0) | (s->sending.count ? 0 : LSR_THR_EMPTY | LSR_IDLE);
    s->errors = 0;
    update(s);
    return lsr;
}

static uint8_t read_msr(struct serial *s)
{
    uint8_t msr = s->msr;
    s->msr &= 0xf0; /* the changes have been seen */
    update(s);
    return msr;
}

static uint8_t serial_read(void *device, unsigned port)
{
    struct serial *s = device;
    bool latch = s->lcr & LCR_DLAB;
    switch (port) {
    case DATA:
        return latch ? (uint8_t)s->divisor : read_data(s);
    case IER:
        return latch ? (uint8_t)(s->divisor >> 8) : s->ier;
    case IIR_FCR:
        return read_iir(s);
    case LCR:
        return s->lcr;
    case MCR:
        return s->mcr;
    case LSR:
        return read_lsr(s);
    case MSR:
        return read_msr(s);
    default:
        return s->scratch;
    }
}

static void write_ier(struct serial *s, uint8_t value)
{
    bool enables_empty = value & IER_EMPTY && !(s->ier & IER_EMPTY);
    s->ier = value & 0xf;
    if (enables_empty && !s->sending.count)
        s->empty_pending = true;
    update(s);
}

static void write_fcr(struct serial *s, uint8_t value)
{
    bool toggles = (value ^ s->fcr) & FCR_ENABLE;
    s->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
    if (toggles || value & FCR_CLEAR_RECEIVER)
        s->received.count = 0;
    if (toggles || value & FCR_CLEAR_TRANSMITTER) {
        s->empty_pending |= s->sending.count > 0;
        s->sending.count = 0;
    }
    update(s);
    if (serial_room(s) && s->host && s->host->room)
        s->host->room(s->host);
}

/* The modem lines: as a cable to somebody who listens, or looped back to our own outputs. Changes are remembered. */
static void write_mcr(struct serial *s, uint8_t value)
{
    bool was_loop = s->mcr & MCR_LOOP;
    s->mcr = value & MCR_MASK;
    uint8_t lines = MSR_CONNECTED;
    if (value & MCR_LOOP) /* CTS = RTS, DSR = DTR, RI = OUT1, DCD = OUT2 */
        lines = (uint8_t)((value & 2) << 3 | (value & 1) << 5 | (value & 4) << 4 | (value & 8) << 4);
    uint8_t changes = (s->msr ^ lines) >> 4;
    if (!(s->msr & 0x40) && lines & 0x40)
        changes &= 0xb; /* the ring indicator tells its trailing edge alone */
    s->msr = lines | (s->msr & 0xf) | changes;
    update(s);
    if (was_loop && serial_room(s) && s->host && s->host->room)
        s->host->room(s->host);
}

static void serial_write(void *device, unsigned port, uint8_t value)
{
    struct serial *s = device;
    bool latch = s->lcr & LCR_DLAB;
    switch (port) {
    case DATA:
        if (latch)
            s->divisor = (uint16_t)((s->divisor & 0xff00) | value);
        else
            transmit(s, value);
        break;
    case IER:
        if (latch)
            s->divisor = (uint16_t)((s->divisor & 0xff) | value << 8);
        else
            write_ier(s, value);
        break;
    case IIR_FCR:
        write_fcr(s, value);
        break;
    case LCR:
        s->lcr = value;
        break;
    case MCR:
        write_mcr(s, value);
        break;
    case SCR:
        s->scratch = value;
        break;
    default: /* LSR and MSR are read-only */
        break;
    }
}

static uint64_t ports_read(void *device, uint64_t offset, unsigned size)
{
    return byte_ports_read(device, offset, size, serial_read);
}

static void ports_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    byte_ports_write(device, offset, size, value, serial_write);
}

static const struct bus_ops ports_ops = {ports_read, ports_write};

/* ---- the device ---- */

static void serial_reset(struct device *device)
{
    struct serial *s = CONTAINER_OF(device, struct serial, device);
    s->received.count = s->sending.count = 0;
    s->ier = s->fcr = s->lcr = s->mcr = s->scratch = s->errors = 0;
    s->msr = MSR_CONNECTED;
    s->divisor = 12; /* 9600 baud */
    s->empty_pending = false;
    update(s);
    if (s->host && s->host->room)
        s->host->room(s->host);
}

static void fifo_state(struct state *state, const char *name, struct serial_fifo *fifo)
{
    size_t count = fifo->count;
    state_blob(state, name, fifo->data, &count, FIFO_BYTES);
    if (state_loading(state) && !state_failed(state))
        fifo->count = (uint8_t)count;
}

static void serial_state(struct device *device, struct state *state)
{
    struct serial *s = CONTAINER_OF(device, struct serial, device);
    fifo_state(state, "received", &s->received);
    fifo_state(state, "sending", &s->sending);
    state_u8(state, "ier", &s->ier);
    state_u8(state, "fcr", &s->fcr);
    state_u8(state, "lcr", &s->lcr);
    state_u8(state, "mcr", &s->mcr);
    state_u8(state, "msr", &s->msr);
    state_u8(state, "scratch", &s->scratch);
    state_u8(state, "errors", &s->errors);
    state_u16(state, "divisor", &s->divisor);
    state_bool(state, "empty-pending", &s->empty_pending);
    state_check(state, !(s->ier & 0xf0) && !(s->errors & ~LSR_ERRORS) && !(s->mcr & ~MCR_MASK),
                "a register has bits that are not there");
    if (state_loading(state) && !state_failed(state))
        update(s);
}

struct serial *serial_new(struct bus *bus, struct irq *irq, uint16_t port, unsigned gsi, uint32_t instance,
                          struct serial_host *host, struct err *err)
{
    struct serial *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(err, ENOMEM, "no memory for a serial port");
        return NULL;
    }
    s->bus = bus;
    s->irq = irq;
    s->gsi = gsi;
    s->host = host;
    s->device = (struct device){
        .name = "serial", .instance = instance, .version = VERSION, .reset = serial_reset, .state = serial_state};
    s->region = (struct bus_region){
        .name = "serial", .ops = &ports_ops, .device = s, .space = BUS_PORTS, .base = port, .bytes = PORTS};
    s->msr = MSR_CONNECTED;
    s->divisor = 12;
    char what[32];
    snprintf(what, sizeof what, "a serial port at %x", port);
    if (bus_plug(bus, &s->region, what, err)) {
        free(s);
        return NULL;
    }
    return s;
}

void serial_free(struct serial *s)
{
    if (!s)
        return;
    bus_lock(s->bus);
    bus_remove(s->bus, &s->region);
    bus_unlock(s->bus);
    free(s);
}

struct device *serial_device(struct serial *s)
{
    return &s->device;
}
