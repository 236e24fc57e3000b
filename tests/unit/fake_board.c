/* See fake_board.h. */
#include "tests/unit/fake_board.h"

#include <stdlib.h>
#include <string.h>

#include "hv/state.h"
#include "hv/timers.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

static void set_line(struct irq *irq, unsigned gsi, bool level)
{
    struct fake_board *b = CONTAINER_OF(irq, struct fake_board, irq);
    assert_true(gsi < IRQ_GSI_COUNT);
    b->edges[gsi] += level && !b->level[gsi];
    b->level[gsi] = level;
}

static void send_msi(struct irq *irq, uint64_t address, uint32_t data)
{
    struct fake_board *b = CONTAINER_OF(irq, struct fake_board, irq);
    assert_true(b->msi_count < FAKE_MSI_MAX);
    b->msi[b->msi_count].address = address;
    b->msi[b->msi_count++].data = data;
}

static void restart(struct reset *reset, const char *by)
{
    assert_non_null(by);
    CONTAINER_OF(reset, struct fake_board, reset)->restarts++;
}

static void off(struct reset *reset, const char *by)
{
    assert_non_null(by);
    CONTAINER_OF(reset, struct fake_board, reset)->offs++;
}

int fake_board_setup(void **state)
{
    struct err err = {0};
    struct fake_board *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->irq = (struct irq){.set = set_line, .msi = send_msi};
    b->reset = (struct reset){.restart = restart, .off = off};
    irq_share_init(&b->lines, &b->irq);
    b->loop = loop_new(&err);
    assert_non_null(b->loop);
    b->bus = bus_new(&err);
    b->memory = memory_new(FAKE_MEMORY_BYTES, &err);
    assert_true(b->bus && b->memory);
    b->timers = timers_new(b->loop, b->bus, &err);
    assert_non_null(b->timers);
    *state = b;
    return 0;
}

int fake_board_teardown(void **state)
{
    struct fake_board *b = *state;
    timers_free(b->timers);
    memory_free(b->memory);
    bus_free(b->bus);
    loop_free(b->loop);
    irq_share_fini(&b->lines);
    free(b);
    return 0;
}

/* ---- accesses ---- */

uint32_t board_in(struct fake_board *b, uint16_t port, unsigned size)
{
    return (uint32_t)bus_read(b->bus, BUS_PORTS, port, size);
}

void board_out(struct fake_board *b, uint16_t port, unsigned size, uint32_t value)
{
    bus_write(b->bus, BUS_PORTS, port, size, value);
}

uint64_t board_load(struct fake_board *b, uint64_t gpa, unsigned size)
{
    return bus_read(b->bus, BUS_MEMORY, gpa, size);
}

void board_store(struct fake_board *b, uint64_t gpa, unsigned size, uint64_t value)
{
    bus_write(b->bus, BUS_MEMORY, gpa, size, value);
}

static uint16_t select_register(struct fake_board *b, unsigned slot, unsigned function, unsigned offset)
{
    board_out(b, 0xcf8, 4, 0x80000000u | slot << 11 | function << 8 | (offset & 0xfc));
    return (uint16_t)(0xcfc + (offset & 3));
}

uint32_t board_config_read(struct fake_board *b, unsigned slot, unsigned function, unsigned offset, unsigned size)
{
    return board_in(b, select_register(b, slot, function, offset), size);
}

void board_config_write(struct fake_board *b, unsigned slot, unsigned function, unsigned offset, unsigned size,
                        uint32_t value)
{
    board_out(b, select_register(b, slot, function, offset), size, value);
}

void board_set_time(struct fake_board *b, uint64_t ns)
{
    struct err err = {0};
    const void *data;
    size_t bytes;
    struct state *s = state_save_new();
    assert_true(s && state_begin(s, "timers", 0, 1));
    state_u64(s, "now-ns", &ns);
    state_end(s);
    assert_int_equal(state_fini(s, &data, &bytes, &err), 0);
    struct state *load = state_load_new(data, bytes);
    assert_non_null(load);
    timers_state(b->timers, load);
    assert_int_equal(state_fini(load, NULL, NULL, &err), 0);
    state_free(load);
    state_free(s);
    assert_int_equal(timers_now_ns(b->timers), ns);
}

/* ---- state ---- */

void *board_save(struct fake_board *b, struct device *device, size_t *bytes)
{
    struct state *s = state_save_new();
    struct err err = {0};
    const void *data;
    assert_non_null(s);
    bus_lock(b->bus);
    assert_true(state_begin(s, device->name, device->instance, device->version));
    device->state(device, s);
    state_end(s);
    bus_unlock(b->bus);
    if (state_fini(s, &data, bytes, &err))
        fail_msg("%s", err.text);
    void *copy = malloc(*bytes);
    assert_non_null(copy);
    memcpy(copy, data, *bytes);
    state_free(s);
    return copy;
}

int board_load_state(struct fake_board *b, struct device *device, const void *data, size_t bytes)
{
    struct state *s = state_load_new(data, bytes);
    struct err err = {0};
    assert_non_null(s);
    bus_lock(b->bus);
    if (state_begin(s, device->name, device->instance, device->version)) {
        device->state(device, s);
        state_end(s);
    }
    bus_unlock(b->bus);
    int rc = state_fini(s, NULL, NULL, &err);
    assert_true(!rc == !*err.text);
    state_free(s);
    return -rc;
}

void board_round_trip(struct fake_board *b, struct device *from, struct device *to)
{
    size_t bytes, again_bytes;
    void *data = board_save(b, from, &bytes);
    assert_int_equal(board_load_state(b, to, data, bytes), 0);
    void *again = board_save(b, to, &again_bytes);
    assert_int_equal(bytes, again_bytes);
    assert_memory_equal(data, again, bytes);
    free(data);
    free(again);
}
