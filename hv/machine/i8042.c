/* See i8042.h.
 *
 *     guest -> 60h -> controller (if it waits for a parameter) or keyboard
 *     keyboard's answers -> queue -> 60h, one at a time, IRQ 1 for each
 */
#include "hv/machine/i8042.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hv/bus.h"
#include "hv/device.h"
#include "hv/irq.h"
#include "hv/machine/reset.h"
#include "hv/state.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { QUEUE_BYTES = 16, VERSION = 1 };

enum { /* of the status, port 64h */
       STATUS_FULL = 0x01,
       STATUS_SYSTEM = 0x04,
       STATUS_COMMAND = 0x08,
       STATUS_UNLOCKED = 0x10,
};

enum { /* of the command byte */
       MODE_INTERRUPT = 0x01,
       MODE_SYSTEM = 0x04,
       MODE_KEYBOARD_OFF = 0x10,
       MODE_MOUSE_OFF = 0x20,
       MODE_TRANSLATE = 0x40,
};

enum controller_command {
    READ_MODE = 0x20,
    WRITE_MODE = 0x60,
    MOUSE_OFF = 0xa7,
    MOUSE_ON = 0xa8,
    TEST_MOUSE = 0xa9,
    SELF_TEST = 0xaa,
    TEST_KEYBOARD = 0xab,
    KEYBOARD_OFF = 0xad,
    KEYBOARD_ON = 0xae,
    READ_INPUT = 0xc0,
    READ_OUTPUT = 0xd0,
    WRITE_OUTPUT = 0xd1,
    WRITE_KEYBOARD_BUFFER = 0xd2,
    WRITE_MOUSE_BUFFER = 0xd3,
    WRITE_MOUSE = 0xd4,
    PULSE = 0xf0, /* and all above: bits that are clear are pulsed */
};

enum { OUTPUT_RUN = 0x01, OUTPUT_A20 = 0x02, OUTPUT_START = 0xc3 };

enum keyboard_command {
    KEYBOARD_LEDS = 0xed,
    KEYBOARD_ECHO = 0xee,
    KEYBOARD_SCAN_SET = 0xf0,
    KEYBOARD_IDENTIFY = 0xf2,
    KEYBOARD_RATE = 0xf3,
    KEYBOARD_ENABLE = 0xf4,
    KEYBOARD_DISABLE = 0xf5,
    KEYBOARD_DEFAULTS = 0xf6,
    KEYBOARD_RESEND = 0xfe,
    KEYBOARD_RESET = 0xff,
    ACKNOWLEDGE = 0xfa,
    SELF_TEST_PASSED = 0xaa,
    RESEND = 0xfe,
};

struct i8042 {
    struct device device;
    struct bus_region data, command;
    struct bus *bus;
    struct irq *irq;
    struct reset *reset;
    uint8_t mode, output_port;
    uint8_t controller_waits, keyboard_waits; /* the command whose parameter is next; 0: none */
    uint8_t scan_set, last_sent;
    bool last_was_command;
    uint8_t queue[QUEUE_BYTES];
    uint8_t queued;
};

/* The line is down for a moment between two bytes, so that each makes an edge. */
static void update(struct i8042 *k)
{
    irq_set(k->irq, I8042_GSI, k->queued && k->mode & MODE_INTERRUPT);
}

static void answer(struct i8042 *k, uint8_t byte)
{
    if (k->queued < QUEUE_BYTES) /* a guest that does not read its answers gets no more */
        k->queue[k->queued++] = byte;
    update(k);
}

/* The keyboard speaks scan set 2; the controller makes it 1 if it is told to. These are the codes that occur. */
static void key_answer(struct i8042 *k, uint8_t byte)
{
    static const struct {
        uint8_t from, to;
    } pairs[] = {{0x83, 0x41}, {0x01, 0x43}, {0x02, 0x41}, {0x03, 0x3f}};
    k->last_sent = byte;
    for (unsigned i = 0; k->mode & MODE_TRANSLATE && i < sizeof pairs / sizeof *pairs; i++)
        if (pairs[i].from == byte) {
            byte = pairs[i].to;
            break;
        }
    answer(k, byte);
}

/* ---- the keyboard ---- */

static void keyboard_parameter(struct i8042 *k, uint8_t value)
{
    uint8_t command = k->keyboard_waits;
    k->keyboard_waits = 0;
    key_answer(k, ACKNOWLEDGE);
    if (command != KEYBOARD_SCAN_SET)
        return;
    if (!value)
        key_answer(k, k->scan_set);
    else if (value <= 3)
        k->scan_set = value;
}

static void keyboard_write(struct i8042 *k, uint8_t value)
{
    k->mode &= (uint8_t)~MODE_KEYBOARD_OFF; /* being spoken to switches it on */
    if (k->keyboard_waits && value < KEYBOARD_LEDS) {
        keyboard_parameter(k, value);
        return;
    }
    k->keyboard_waits = 0;
    switch (value) {
    case KEYBOARD_ECHO:
        key_answer(k, KEYBOARD_ECHO);
        return;
    case KEYBOARD_RESEND:
        key_answer(k, k->last_sent);
        return;
    case KEYBOARD_LEDS:
    case KEYBOARD_SCAN_SET:
    case KEYBOARD_RATE:
        k->keyboard_waits = value;
        break;
    case KEYBOARD_DEFAULTS:
    case KEYBOARD_DISABLE:
        k->scan_set = 2;
        break;
    case KEYBOARD_ENABLE:
    case KEYBOARD_IDENTIFY:
    case KEYBOARD_RESET:
        break;
    default:
        key_answer(k, RESEND);
        return;
    }
    key_answer(k, ACKNOWLEDGE);
    if (value == KEYBOARD_IDENTIFY) {
        key_answer(k, 0xab);
        key_answer(k, 0x83);
    } else if (value == KEYBOARD_RESET) {
        k->scan_set = 2;
        key_answer(k, SELF_TEST_PASSED);
    }
}

/* ---- the controller ---- */

static void set_output_port(struct i8042 *k, uint8_t value)
{
    k->output_port = value;
    if (!(value & OUTPUT_RUN))
        reset_restart(k->reset, "the keyboard controller");
}

static void controller_parameter(struct i8042 *k, uint8_t value)
{
    uint8_t command = k->controller_waits;
    k->controller_waits = 0;
    switch (command) {
    case WRITE_MODE:
        k->mode = value;
        update(k);
        break;
    case WRITE_OUTPUT:
        set_output_port(k, value);
        break;
    case WRITE_KEYBOARD_BUFFER:
    case WRITE_MOUSE_BUFFER: /* comes back as the keyboard's: the sign that there is no mouse */
        answer(k, value);
        break;
    default: /* for the mouse: it does not answer */
        break;
    }
}

static void controller_command(struct i8042 *k, uint8_t value)
{
    k->controller_waits = 0;
    switch (value) {
    case READ_MODE:
        answer(k, k->mode);
        break;
    case WRITE_MODE:
    case WRITE_OUTPUT:
    case WRITE_KEYBOARD_BUFFER:
    case WRITE_MOUSE_BUFFER:
    case WRITE_MOUSE:
        k->controller_waits = value;
        break;
    case MOUSE_OFF:
        k->mode |= MODE_MOUSE_OFF;
        break;
    case MOUSE_ON:
        k->mode &= (uint8_t)~MODE_MOUSE_OFF;
        break;
    case TEST_MOUSE:
        answer(k, 0x01); /* its clock line is stuck: nothing there */
        break;
    case SELF_TEST:
        k->queued = 0;
        k->mode |= MODE_SYSTEM;
        answer(k, 0x55);
        break;
    case TEST_KEYBOARD:
        answer(k, 0x00);
        break;
    case KEYBOARD_OFF:
        k->mode |= MODE_KEYBOARD_OFF;
        break;
    case KEYBOARD_ON:
        k->mode &= (uint8_t)~MODE_KEYBOARD_OFF;
        break;
    case READ_INPUT:
        answer(k, 0x80); /* not locked */
        break;
    case READ_OUTPUT:
        answer(k, k->output_port);
        break;
    default:
        if (value >= PULSE && !(value & OUTPUT_RUN))
            reset_restart(k->reset, "the keyboard controller");
    }
}

/* ---- ports ---- */

static uint64_t data_read(void *device, uint64_t offset, unsigned size)
{
    struct i8042 *k = device;
    (void)offset;
    (void)size;
    uint8_t byte = k->queue[0]; /* the last one again, if there is none */
    if (k->queued) {
        k->queued--;
        if (k->queued)
            memmove(k->queue, k->queue + 1, k->queued);
        irq_set(k->irq, I8042_GSI, false);
        update(k);
    }
    return byte;
}

static void data_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *k = device;
    (void)offset;
    (void)size;
    k->last_was_command = false;
    if (k->controller_waits)
        controller_parameter(k, (uint8_t)value);
    else
        keyboard_write(k, (uint8_t)value);
}

static uint64_t status_read(void *device, uint64_t offset, unsigned size)
{
    const struct i8042 *k = device;
    (void)offset;
    (void)size;
    return STATUS_UNLOCKED | (k->queued ? STATUS_FULL : 0) | (k->mode & MODE_SYSTEM ? STATUS_SYSTEM : 0) |
           (k->last_was_command ? STATUS_COMMAND : 0);
}

static void command_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *k = device;
    (void)offset;
    (void)size;
    k->last_was_command = true;
    controller_command(k, (uint8_t)value);
}

static const struct bus_ops data_ops = {data_read, data_write};
static const struct bus_ops command_ops = {status_read, command_write};

/* ---- the device ---- */

static void i8042_reset(struct device *device)
{
    struct i8042 *k = CONTAINER_OF(device, struct i8042, device);
    k->mode = MODE_KEYBOARD_OFF | MODE_MOUSE_OFF;
    k->output_port = OUTPUT_START;
    k->controller_waits = k->keyboard_waits = k->last_sent = k->queued = 0;
    k->scan_set = 2;
    k->last_was_command = false;
    memset(k->queue, 0, sizeof k->queue);
    update(k);
}

static void i8042_state(struct device *device, struct state *s)
{
    struct i8042 *k = CONTAINER_OF(device, struct i8042, device);
    state_u8(s, "mode", &k->mode);
    state_u8(s, "output-port", &k->output_port);
    state_u8(s, "controller-waits", &k->controller_waits);
    state_u8(s, "keyboard-waits", &k->keyboard_waits);
    state_u8(s, "scan-set", &k->scan_set);
    state_u8(s, "last-sent", &k->last_sent);
    state_bool(s, "last-was-command", &k->last_was_command);
    state_bytes(s, "queue", k->queue, sizeof k->queue);
    state_u8(s, "queued", &k->queued);
    state_check(s, k->queued <= QUEUE_BYTES && k->scan_set <= 3, "the queue or the scan set cannot be");
    if (state_loading(s) && !state_failed(s))
        update(k);
    else if (state_failed(s))
        k->queued = 0;
}

struct i8042 *i8042_new(struct bus *bus, struct irq *irq, struct reset *reset, struct err *err)
{
    struct i8042 *k = calloc(1, sizeof *k);
    if (!k) {
        err_set(err, ENOMEM, "no memory for the keyboard controller");
        return NULL;
    }
    k->bus = bus;
    k->irq = irq;
    k->reset = reset;
    k->device = (struct device){.name = "i8042", .version = VERSION, .reset = i8042_reset, .state = i8042_state};
    k->data = (struct bus_region){
        .name = "i8042 data", .ops = &data_ops, .device = k, .space = BUS_PORTS, .base = I8042_DATA, .bytes = 1};
    k->command = (struct bus_region){.name = "i8042 command",
                                     .ops = &command_ops,
                                     .device = k,
                                     .space = BUS_PORTS,
                                     .base = I8042_COMMAND,
                                     .bytes = 1};
    bus_lock(bus);
    i8042_reset(&k->device);
    int rc = bus_add(bus, &k->data);
    if (!rc)
        rc = bus_add(bus, &k->command);
    if (rc)
        bus_remove(bus, &k->data);
    bus_unlock(bus);
    if (rc) {
        err_set(err, -rc, "the bus has no place for the keyboard controller");
        free(k);
        return NULL;
    }
    return k;
}

void i8042_free(struct i8042 *k)
{
    if (!k)
        return;
    bus_lock(k->bus);
    bus_remove(k->bus, &k->data);
    bus_remove(k->bus, &k->command);
    bus_unlock(k->bus);
    free(k);
}

struct device *i8042_device(struct i8042 *k)
{
    return &k->device;
}
