/* The transport and the core, with a device that echoes: what is readable is copied to what is writable. */
#include "tests/unit/virtio_guest.h"

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "hv/device.h"
#include "hv/machine/pci.h"
#include "hv/state.h"
#include "hv/virtio/chain.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { ECHO_ID = 60, QUEUES = 2, CONFIG = 12, ROOM = 8, HELD_MAX = 4 };

struct echo {
    struct virtio_device device;
    struct virtio_queue queues[QUEUES];
    uint8_t config[CONFIG];
    atomic_bool hold; /* keep what is taken */
    unsigned starts, stops, resets;
    struct iovec iov[HELD_MAX][ROOM];
    struct chain held[HELD_MAX];
    unsigned held_count;
};

static struct echo *echo_of(struct virtio_queue *vq)
{
    return CONTAINER_OF(vq->device, struct echo, device);
}

static void answer(struct virtio_queue *vq, struct chain *c)
{
    uint8_t data[256];
    size_t n = chain_read(c, 0, data, sizeof data);
    n = chain_write(c, 0, data, n);
    queue_push(&vq->ring, c, n);
    queue_publish(&vq->ring);
}

static void kick(struct virtio_queue *vq)
{
    struct echo *e = echo_of(vq);
    do {
        while (e->held_count < HELD_MAX) {
            struct chain *c = &e->held[e->held_count];
            c->iov = e->iov[e->held_count];
            c->room = ROOM;
            if (!queue_pop(&vq->ring, c))
                break;
            if (atomic_load(&e->hold))
                e->held_count++;
            else
                answer(vq, c);
        }
    } while (e->held_count < HELD_MAX && queue_listen(&vq->ring));
}

static void start(struct virtio_queue *vq)
{
    echo_of(vq)->starts++;
}

static void stop(struct virtio_queue *vq)
{
    struct echo *e = echo_of(vq);
    e->stops++;
    if (!vq->ring.out)
        virtio_queue_stopped(vq);
}

/* On the I/O thread: what was kept goes back. */
static void let_go(void *context)
{
    struct echo *e = context;
    struct virtio_queue *vq = &e->queues[0];
    bool stopping = e->held_count && !virtio_queue_serves(vq);
    for (unsigned i = 0; i < e->held_count; i++)
        answer(vq, &e->held[i]);
    e->held_count = 0;
    if (stopping)
        virtio_queue_stopped(vq);
}

static void config_read(struct virtio_device *d, uint8_t *to)
{
    memcpy(to, CONTAINER_OF(d, struct echo, device)->config, CONFIG);
}

static void config_write(struct virtio_device *d, uint32_t offset, uint32_t size, uint64_t value)
{
    memcpy(CONTAINER_OF(d, struct echo, device)->config + offset, &value, size);
}

static void reset(struct virtio_device *d)
{
    CONTAINER_OF(d, struct echo, device)->resets++;
}

static const struct virtio_device_ops ops = {.config_read = config_read,
                                             .config_write = config_write,
                                             .reset = reset,
                                             .start = start,
                                             .stop = stop,
                                             .kick = kick};

static struct echo *echo_new(struct virtio_guest *g)
{
    struct err err = {0};
    struct echo *e = calloc(1, sizeof *e);
    e->device = (struct virtio_device){.ops = &ops,
                                       .name = "virtio-echo",
                                       .id = ECHO_ID,
                                       .config_bytes = CONFIG,
                                       .queue_count = QUEUES,
                                       .queues = e->queues,
                                       .offered = 1ull << 5,
                                       .memory = g->memory};
    for (unsigned i = 0; i < QUEUES; i++) {
        e->queues[i].io = g->io;
        e->queues[i].size_max = 64;
    }
    if (virtio_device_init(&e->device, &err))
        fail_msg("%s", err.text);
    return e;
}

static void echo_free(struct echo *e)
{
    virtio_device_fini(&e->device);
    free(e);
}

struct bench {
    struct virtio_guest *g;
    struct echo *e;
    struct guest_buffer out, in;
};

static struct bench begin(bool msix)
{
    struct bench b = {.g = virtio_guest_new()};
    b.e = echo_new(b.g);
    virtio_guest_plug(b.g, &b.e->device, msix);
    b.out = (struct guest_buffer){virtio_guest_alloc(b.g, 64), 64};
    b.in = (struct guest_buffer){virtio_guest_alloc(b.g, 64), 64};
    memset(virtio_guest_at(b.g, b.out.gpa, 64), 0x5a, 64);
    return b;
}

static void end(struct bench *b)
{
    io_thread_call(b->g->io, let_go, b->e);
    virtio_guest_unplug(b->g);
    echo_free(b->e);
    virtio_guest_free(b->g);
}

static void ask(struct bench *b)
{
    uint32_t bytes;
    memset(virtio_guest_at(b->g, b->in.gpa, 64), 0, 64);
    uint16_t head = virtio_guest_add(b->g, 0, &b->out, 1, &b->in, 1);
    virtio_guest_kick(b->g, 0);
    assert_int_equal(virtio_guest_wait(b->g, 0, &bytes), head);
    assert_int_equal(bytes, 64);
    assert_memory_equal(virtio_guest_at(b->g, b->in.gpa, 64), virtio_guest_at(b->g, b->out.gpa, 64), 64);
}

static const uint64_t ring_features = 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC;

/* ---- tests ---- */

struct msi_wait {
    struct virtio_guest *g;
    unsigned vector, count;
};

static bool msi_came(void *context)
{
    struct msi_wait *w = context;
    return atomic_load(&w->g->msis[w->vector]) >= w->count;
}

static void echoes_with_msix(void **state)
{
    (void)state;
    struct bench b = begin(true);
    virtio_guest_start(b.g, 0);
    for (unsigned i = 0; i < 200; i++)
        ask(&b);
    struct msi_wait wait = {b.g, 1, 200};
    virtio_guest_wait_for(msi_came, &wait);
    assert_int_equal(atomic_load(&b.g->msis[0]), 0);
    assert_false(atomic_load(&b.g->line));
    end(&b);
}

static void echoes_with_every_ring_feature(void **state)
{
    (void)state;
    struct bench b = begin(true);
    virtio_guest_start(b.g, ring_features);
    assert_int_equal(b.g->features, ring_features | 1ull << VIRTIO_F_VERSION_1);
    for (unsigned i = 0; i < 200; i++)
        ask(&b);
    virtio_guest_add_indirect(b.g, 0, &b.out, 1, &b.in, 1);
    virtio_guest_kick(b.g, 0);
    virtio_guest_wait(b.g, 0, NULL);
    end(&b);
}

static bool line_is_up(void *context)
{
    return atomic_load(&((struct virtio_guest *)context)->line);
}

static void falls_back_to_the_line(void **state)
{
    (void)state;
    struct bench b = begin(false);
    virtio_guest_start(b.g, 0);
    for (unsigned i = 0; i < 20; i++) {
        ask(&b);
        virtio_guest_wait_for(line_is_up, b.g);
        assert_int_equal(virtio_guest_read(b.g, b.g->isr, 1), 1);
        assert_false(atomic_load(&b.g->line));
        assert_int_equal(virtio_guest_read(b.g, b.g->isr, 1), 0);
    }
    virtio_device_config_changed(&b.e->device);
    assert_true(atomic_load(&b.g->line));
    assert_int_equal(virtio_guest_read(b.g, b.g->isr, 1), 2);
    end(&b);
}

static void demands_version_1(void **state)
{
    (void)state;
    struct bench b = begin(true);
    uint8_t early = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    virtio_guest_reset(b.g);
    virtio_guest_set_status(b.g, early);
    virtio_guest_set_status(b.g, early | VIRTIO_CONFIG_S_FEATURES_OK); /* legacy: no feature at all */
    assert_int_equal(virtio_guest_status(b.g), early);
    virtio_guest_write(b.g, b.g->common + VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
    virtio_guest_write(b.g, b.g->common + VIRTIO_PCI_COMMON_GF, 4, 0xffffffff); /* more than is offered */
    virtio_guest_set_status(b.g, early | VIRTIO_CONFIG_S_FEATURES_OK);
    assert_int_equal(virtio_guest_status(b.g), early);
    virtio_guest_set_status(b.g, early | VIRTIO_CONFIG_S_DRIVER_OK); /* not without FEATURES_OK */
    assert_int_equal(virtio_guest_status(b.g), early);
    virtio_guest_write(b.g, b.g->common + VIRTIO_PCI_COMMON_GF, 4, 1);
    virtio_guest_set_status(b.g, early | VIRTIO_CONFIG_S_FEATURES_OK);
    assert_int_equal(virtio_guest_status(b.g), early | VIRTIO_CONFIG_S_FEATURES_OK);
    virtio_guest_write(b.g, b.g->common + VIRTIO_PCI_COMMON_GF, 4, 0); /* settled */
    assert_int_equal(virtio_guest_read(b.g, b.g->common + VIRTIO_PCI_COMMON_GF, 4), 1);
    end(&b);
}

static void registers_keep_what_they_may(void **state)
{
    (void)state;
    struct bench b = begin(true);
    uint64_t common = b.g->common;
    virtio_guest_negotiate(b.g, 0);
    assert_int_equal(virtio_guest_read(b.g, common + VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
    virtio_guest_write(b.g, common + VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
    assert_int_equal(virtio_guest_read(b.g, common + VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
    static const uint16_t sizes[] = {0, 3, 65, 128, 0xffff};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        virtio_guest_write(b.g, common + VIRTIO_PCI_COMMON_Q_SIZE, 2, sizes[i]);
        assert_int_equal(virtio_guest_read(b.g, common + VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
    }
    virtio_guest_write(b.g, common + VIRTIO_PCI_COMMON_Q_SIZE, 2, 16);
    assert_int_equal(virtio_guest_read(b.g, common + VIRTIO_PCI_COMMON_Q_SIZE, 2), 16);
    virtio_guest_write(b.g, common + VIRTIO_PCI_COMMON_Q_MSIX, 2, QUEUES + 1); /* one too many */
    assert_int_equal(virtio_guest_read(b.g, common + VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
    virtio_guest_write(b.g, common + VIRTIO_PCI_COMMON_Q_AVAILLO, 8, 0x123456789abcdef0);
    assert_int_equal(virtio_guest_read(b.g, common + VIRTIO_PCI_COMMON_Q_AVAILHI, 4), 0x12345678);
    assert_int_equal(virtio_guest_read(b.g, common + VIRTIO_PCI_COMMON_Q_AVAILLO, 4), 0x9abcdef0);
    virtio_guest_write(b.g, common + VIRTIO_PCI_COMMON_Q_SELECT, 2, QUEUES); /* there is none */
    assert_int_equal(virtio_guest_read(b.g, common + VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
    virtio_guest_write(b.g, common + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    end(&b);
}

static void configuration_is_bounded(void **state)
{
    (void)state;
    struct bench b = begin(true);
    virtio_guest_start(b.g, 0);
    virtio_guest_write(b.g, b.g->config, 4, 0x44332211);
    assert_int_equal(virtio_guest_config(b.g, 0, 4), 0x44332211);
    assert_int_equal(virtio_guest_config(b.g, 1, 1), 0x22);
    virtio_guest_write(b.g, b.g->config + 10, 4, UINT32_MAX); /* over the end: nothing */
    assert_int_equal(virtio_guest_config(b.g, 10, 2), 0);
    virtio_guest_write(b.g, b.g->config + CONFIG - 1, 1, 0xee);
    assert_int_equal(virtio_guest_config(b.g, CONFIG - 1, 4), 0xee);
    assert_int_equal(virtio_guest_config(b.g, 0xffc, 4), 0);
    uint64_t generation = virtio_guest_read(b.g, b.g->common + VIRTIO_PCI_COMMON_CFGGENERATION, 1);
    virtio_device_config_changed(&b.e->device);
    assert_int_not_equal(virtio_guest_read(b.g, b.g->common + VIRTIO_PCI_COMMON_CFGGENERATION, 1), generation);
    assert_int_equal(atomic_load(&b.g->msis[0]), 1);
    end(&b);
}

static void a_broken_ring_asks_for_a_reset(void **state)
{
    (void)state;
    struct bench b = begin(true);
    virtio_guest_start(b.g, 0);
    ask(&b);
    struct guest_buffer bad = {1ull << 40, 16};
    virtio_guest_add(b.g, 0, &bad, 1, NULL, 0);
    virtio_guest_kick(b.g, 0);
    struct msi_wait wait = {b.g, 0, 1};
    virtio_guest_wait_for(msi_came, &wait);
    assert_true(virtio_guest_status(b.g) & VIRTIO_CONFIG_S_NEEDS_RESET);
    virtio_guest_start(b.g, 0);
    assert_false(virtio_guest_status(b.g) & VIRTIO_CONFIG_S_NEEDS_RESET);
    ask(&b);
    end(&b);
}

static void rings_outside_memory_ask_for_a_reset(void **state)
{
    (void)state;
    struct bench b = begin(true);
    virtio_guest_negotiate(b.g, 0);
    virtio_guest_set_queue(b.g, 1);
    virtio_guest_write(b.g, b.g->common + VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
    virtio_guest_write(b.g, b.g->common + VIRTIO_PCI_COMMON_Q_DESCHI, 4, 7);
    virtio_guest_write(b.g, b.g->common + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    virtio_guest_set_status(b.g, virtio_guest_status(b.g) | VIRTIO_CONFIG_S_DRIVER_OK);
    assert_true(virtio_guest_status(b.g) & VIRTIO_CONFIG_S_NEEDS_RESET);
    virtio_guest_start(b.g, 0);
    ask(&b);
    end(&b);
}

static bool takes_it(void *context)
{
    return ((struct queue *)context)->out != 0;
}

/* `out` is the I/O thread's: asked there. */
static void look(void *context)
{
    struct bench *b = context;
    if (takes_it(&b->e->queues[0].ring))
        b->out.bytes = 1;
}

static bool has_taken(void *context)
{
    struct bench *b = context;
    io_thread_call(b->g->io, look, b);
    return b->out.bytes == 1;
}

static void a_reset_waits_for_what_is_in_flight(void **state)
{
    (void)state;
    struct bench b = begin(true);
    virtio_guest_start(b.g, 0);
    atomic_store(&b.e->hold, true);
    virtio_guest_add(b.g, 0, &b.out, 1, &b.in, 1);
    virtio_guest_kick(b.g, 0);
    virtio_guest_wait_for(has_taken, &b);
    b.out.bytes = 64;
    virtio_guest_set_status(b.g, 0);
    assert_int_not_equal(virtio_guest_status(b.g), 0);         /* still in flight */
    virtio_guest_set_status(b.g, VIRTIO_CONFIG_S_ACKNOWLEDGE); /* too early: nothing */
    virtio_guest_write(b.g, b.g->common + VIRTIO_PCI_COMMON_Q_DESCHI, 4, 7);
    assert_int_equal(b.e->resets, 2); /* power-on, and the driver's first */
    atomic_store(&b.e->hold, false);
    io_thread_call(b.g->io, let_go, b.e);
    assert_int_equal(virtio_guest_status(b.g), 0);
    virtio_guest_start(b.g, 0);
    ask(&b);
    end(&b);
}

static void pauses_and_goes_on(void **state)
{
    (void)state;
    struct bench b = begin(true);
    virtio_guest_start(b.g, ring_features);
    for (unsigned i = 0; i < 20; i++) {
        ask(&b);
        virtio_guest_pause(b.g);
        uint16_t head = virtio_guest_add(b.g, 0, &b.out, 1, &b.in, 1);
        virtio_guest_kick(b.g, 0);
        uint16_t used;
        assert_false(virtio_guest_used(b.g, 0, &used, NULL));
        virtio_guest_resume(b.g);
        assert_int_equal(virtio_guest_wait(b.g, 0, NULL), head);
    }
    end(&b);
}

static void resumes_before_it_stood_still(void **state)
{
    (void)state;
    struct bench b = begin(true);
    struct err err = {0};
    struct loop *loop = loop_new(&err);
    struct loop_message message = {0};
    virtio_guest_start(b.g, 0);
    atomic_store(&b.e->hold, true);
    virtio_guest_add(b.g, 0, &b.out, 1, &b.in, 1);
    virtio_guest_kick(b.g, 0);
    virtio_guest_wait_for(has_taken, &b);
    b.out.bytes = 64;
    virtio_device_pause(&b.e->device, loop, &message);
    virtio_guest_resume(b.g);
    loop_unpost(loop, &message);
    virtio_guest_drop_loop(b.g, loop);
    atomic_store(&b.e->hold, false);
    io_thread_call(b.g->io, let_go, b.e);
    virtio_guest_wait(b.g, 0, NULL);
    ask(&b);
    end(&b);
}

static void state_goes_round(void **state)
{
    (void)state;
    struct bench b = begin(true), other = begin(true);
    virtio_guest_start(b.g, ring_features);
    for (unsigned i = 0; i < 100; i++)
        ask(&b);
    virtio_guest_round_trip(b.g, NULL);
    virtio_guest_round_trip(b.g, other.g);
    uint64_t out = b.out.gpa;
    assert_int_equal(out, other.out.gpa);
    virtio_guest_resume(other.g);
    for (unsigned i = 0; i < 100; i++)
        ask(&other);
    /* the one interrupt that must come: for an entry that was not looked at before */
    struct msi_wait wait = {other.g, 1, atomic_load(&other.g->msis[1]) + 1};
    virtio_guest_add(other.g, 0, &other.out, 1, &other.in, 1);
    virtio_guest_kick(other.g, 0);
    virtio_guest_wait_for(msi_came, &wait);
    virtio_guest_wait(other.g, 0, NULL);
    end(&b);
    end(&other);
}

static void the_window_reaches_registers(void **state)
{
    (void)state;
    struct bench b = begin(true);
    unsigned cap = 0, type = 0;
    bus_lock(b.g->bus);
    for (cap = pci_config_read(b.g->pci, GUEST_SLOT * 8, PCI_CAPABILITY_LIST, 1); cap;
         cap = pci_config_read(b.g->pci, GUEST_SLOT * 8, cap + 1, 1)) {
        type = pci_config_read(b.g->pci, GUEST_SLOT * 8, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1);
        if (pci_config_read(b.g->pci, GUEST_SLOT * 8, cap, 1) == PCI_CAP_VENDOR && type == VIRTIO_PCI_CAP_PCI_CFG)
            break;
    }
    assert_true(cap);
    pci_config_write(b.g->pci, GUEST_SLOT * 8, cap + VIRTIO_PCI_CAP_OFFSET, 4, VIRTIO_PCI_COMMON_STATUS);
    pci_config_write(b.g->pci, GUEST_SLOT * 8, cap + VIRTIO_PCI_CAP_LENGTH, 4, 1);
    pci_config_write(b.g->pci, GUEST_SLOT * 8, cap + 16, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    assert_int_equal(pci_config_read(b.g->pci, GUEST_SLOT * 8, cap + 16, 1), VIRTIO_CONFIG_S_ACKNOWLEDGE);
    static const uint32_t bad[][2] = {{0, 3}, {0, 8}, {2, 4}, {0x4000, 1}, {UINT32_MAX, 1}, {0, 0}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        pci_config_write(b.g->pci, GUEST_SLOT * 8, cap + VIRTIO_PCI_CAP_OFFSET, 4, bad[i][0]);
        pci_config_write(b.g->pci, GUEST_SLOT * 8, cap + VIRTIO_PCI_CAP_LENGTH, 4, bad[i][1]);
        pci_config_write(b.g->pci, GUEST_SLOT * 8, cap + 16, 4, 0);
        pci_config_read(b.g->pci, GUEST_SLOT * 8, cap + 16, 4);
    }
    bus_unlock(b.g->bus);
    assert_int_equal(virtio_guest_status(b.g), VIRTIO_CONFIG_S_ACKNOWLEDGE);
    end(&b);
}

static void doorbells_follow_the_bar(void **state)
{
    (void)state;
    struct bench b = begin(true);
    virtio_guest_start(b.g, 0);
    for (unsigned i = 0; i < 2; i++) /* by port and by register */
        ask(&b);
    bus_lock(b.g->bus);
    pci_config_write(b.g->pci, GUEST_SLOT * 8, PCI_BAR_0, 4, 0xe8000000);
    pci_config_write(b.g->pci, GUEST_SLOT * 8, PCI_BAR_0 + 8, 4, 0xd000);
    bus_unlock(b.g->bus);
    uint64_t move = 0xe8000000 - b.g->bar;
    b.g->common += move;
    b.g->notify += move;
    b.g->port = 0xd000;
    for (unsigned i = 0; i < 2; i++)
        ask(&b);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echoes_with_msix),
        cmocka_unit_test(echoes_with_every_ring_feature),
        cmocka_unit_test(falls_back_to_the_line),
        cmocka_unit_test(demands_version_1),
        cmocka_unit_test(registers_keep_what_they_may),
        cmocka_unit_test(configuration_is_bounded),
        cmocka_unit_test(a_broken_ring_asks_for_a_reset),
        cmocka_unit_test(rings_outside_memory_ask_for_a_reset),
        cmocka_unit_test(a_reset_waits_for_what_is_in_flight),
        cmocka_unit_test(pauses_and_goes_on),
        cmocka_unit_test(resumes_before_it_stood_still),
        cmocka_unit_test(state_goes_round),
        cmocka_unit_test(the_window_reaches_registers),
        cmocka_unit_test(doorbells_follow_the_bar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
