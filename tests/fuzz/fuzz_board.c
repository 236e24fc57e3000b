#include "tests/fuzz/fuzz_board.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "hv/state.h"
#include "hv/timers.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"

enum { RECORD_BYTES = 12 };

static void set_line(struct irq *irq, unsigned gsi, bool level)
{
    (void)irq, (void)level;
    if (gsi >= IRQ_GSI_COUNT)
        abort();
}

static void send_msi(struct irq *irq, uint64_t address, uint32_t data)
{
    (void)irq, (void)address, (void)data;
}

static void restart(struct reset *reset, const char *by)
{
    (void)reset, (void)by;
}

struct fuzz_board *fuzz_board(void)
{
    static struct fuzz_board b;
    if (b.bus)
        return &b;
    log_init("fuzz", LOG_LEVEL_ERROR);
    b.irq = (struct irq){.set = set_line, .msi = send_msi};
    b.reset = (struct reset){.restart = restart, .off = restart};
    irq_share_init(&b.lines, &b.irq);
    b.loop = loop_new(NULL);
    b.bus = bus_new(NULL);
    b.memory = memory_new(FUZZ_MEMORY_BYTES, NULL);
    b.timers = b.loop && b.bus ? timers_new(b.loop, b.bus, NULL) : NULL;
    if (!b.memory || !b.timers)
        abort();
    return &b;
}

bool fuzz_next(const uint8_t **data, size_t *size, struct fuzz_record *record)
{
    if (*size < RECORD_BYTES)
        return false;
    const uint8_t *p = *data;
    uint32_t address, value;
    memcpy(&address, p + 2, 4);
    memcpy(&value, p + 6, 4);
    *record = (struct fuzz_record){.action = (enum fuzz_action)(p[0] % FUZZ_ACTIONS),
                                   .size = 1u << p[1] % 4,
                                   .address = le32toh(address),
                                   .value = le32toh(value)};
    *data += RECORD_BYTES;
    *size -= RECORD_BYTES;
    return true;
}

void fuzz_do(struct fuzz_board *b, const struct fuzz_record *r)
{
    unsigned port_size = r->size > 4 ? 4 : r->size;
    uint64_t wide = (uint64_t)r->value << 32 | r->value;
    switch (r->action) {
    case FUZZ_IN:
        if (bus_read(b->bus, BUS_PORTS, r->address & 0xffff, port_size) > UINT32_MAX)
            abort();
        break;
    case FUZZ_OUT:
        bus_write(b->bus, BUS_PORTS, r->address & 0xffff, port_size, r->value);
        break;
    case FUZZ_LOAD:
        (void)bus_read(b->bus, BUS_MEMORY, r->address, r->size);
        break;
    case FUZZ_STORE:
        bus_write(b->bus, BUS_MEMORY, r->address, r->size, wide);
        break;
    case FUZZ_POKE:
        (void)memory_write(b->memory, r->address % FUZZ_MEMORY_BYTES, &wide, r->size);
        break;
    case FUZZ_HOST:
    case FUZZ_ACTIONS:
        break;
    }
}

static struct state *save(struct fuzz_board *b, struct device *device, const void **data, size_t *bytes)
{
    struct state *s = state_save_new();
    if (!s || !state_begin(s, device->name, device->instance, device->version))
        abort();
    bus_lock(b->bus);
    device->state(device, s);
    bus_unlock(b->bus);
    state_end(s);
    if (state_fini(s, data, bytes, NULL))
        abort();
    return s;
}

void fuzz_round_trip(struct fuzz_board *b, struct device *from, struct device *to)
{
    const void *data, *again;
    size_t bytes, again_bytes;
    struct state *saved = save(b, from, &data, &bytes);
    struct state *s = state_load_new(data, bytes);
    if (!s || !state_begin(s, to->name, to->instance, to->version))
        abort();
    bus_lock(b->bus);
    to->state(to, s);
    bus_unlock(b->bus);
    state_end(s);
    if (state_fini(s, NULL, NULL, NULL))
        abort();
    state_free(s);
    struct state *resaved = save(b, to, &again, &again_bytes);
    if (bytes != again_bytes || memcmp(data, again, bytes) != 0)
        abort();
    state_free(saved);
    state_free(resaved);
}
