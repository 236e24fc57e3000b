/* See fw_cfg.h. A command is copied out of guest memory before it is looked at; its length is a guest's and is bounded,
 * as is the time it takes, since the bus stays locked meanwhile. */
#include "hv/machine/fw_cfg.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/bus.h"
#include "hv/device.h"
#include "hv/memory.h"
#include "hv/state.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum {
    SELECT_PORT = 0x510,
    SELECT_BYTES = 2,
    OFFSET_DATA = 1,
    DMA_PORT = 0x514,
    DMA_BYTES = 8,
    WRITE_CHANNEL = 0x4000, /* of a key: means nothing any more */
    ID_TRADITIONAL = 1,
    ID_DMA = 2,
    DMA_ERROR = 1,
    DMA_READ = 2,
    DMA_SKIP = 4,
    DMA_SELECT = 8,
    DMA_WRITE = 16,
    STATE_FORMAT = 1,
};

struct command { /* as in guest memory, big-endian */
    uint32_t control, length;
    uint64_t address;
};
_Static_assert(sizeof(struct command) == 16, "an fw_cfg command is 16 bytes");

struct file { /* an entry of the directory, big-endian */
    uint32_t bytes;
    uint16_t key, reserved;
    char name[FW_CFG_NAME_MAX + 1];
};
_Static_assert(sizeof(struct file) == 64, "an entry of the fw_cfg directory is 64 bytes");

struct item {
    uint16_t key;
    uint32_t bytes;
    uint8_t *data;
};

struct directory {
    uint32_t count; /* big-endian */
    struct file files[FW_CFG_ITEM_MAX];
};

struct fw_cfg {
    struct device device;
    struct bus *bus;
    struct memory *memory;
    struct bus_region select_ports, dma_ports;
    unsigned item_count, file_count;
    struct item items[FW_CFG_ITEM_MAX];
    struct directory directory;
    /* the guest's */
    uint16_t key;
    uint32_t offset;
    uint32_t dma_high;
};

static const char dma_signature[DMA_BYTES + 1] = "QEMU CFG";

/* ---- reading ---- */

/* What is left of the chosen item. */
static const uint8_t *rest(const struct fw_cfg *f, uint32_t *bytes)
{
    const uint8_t *data = NULL;
    *bytes = 0;
    if (f->key == FW_CFG_DIRECTORY) {
        data = (const uint8_t *)&f->directory;
        *bytes = (uint32_t)(sizeof f->directory.count + f->file_count * sizeof f->directory.files[0]);
    }
    for (unsigned i = 0; i < f->item_count; i++)
        if (f->items[i].key == f->key) {
            data = f->items[i].data;
            *bytes = f->items[i].bytes;
        }
    if (f->offset >= *bytes) {
        *bytes = 0;
        return NULL;
    }
    *bytes -= f->offset;
    return data + f->offset;
}

static void choose(struct fw_cfg *f, uint16_t key)
{
    f->key = key & (uint16_t)~WRITE_CHANNEL;
    f->offset = 0;
}

static uint64_t select_read(void *device, uint64_t offset, unsigned size)
{
    struct fw_cfg *f = device;
    uint32_t left;
    if (offset != OFFSET_DATA || size != 1)
        return 0;
    const uint8_t *at = rest(f, &left);
    if (!at)
        return 0;
    f->offset++;
    return *at;
}

static void select_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    if (offset == 0 && size == 2)
        choose(device, (uint16_t)value);
}

static const struct bus_ops select_ops = {.read = select_read, .write = select_write};

/* ---- commands in memory ---- */

/* All of [gpa, gpa+bytes) or nothing. */
static int copy_out(struct fw_cfg *f, uint64_t gpa, uint32_t bytes)
{
    static const uint8_t zeroes[MEMORY_PAGE_BYTES];
    uint32_t left;
    const uint8_t *from = rest(f, &left);
    if (bytes > FW_CFG_DMA_BYTES_MAX || (bytes && !memory_at_writable(f->memory, gpa, bytes)))
        return -EFAULT;
    uint32_t count = left < bytes ? left : bytes;
    int rc = count ? memory_write(f->memory, gpa, from, count) : 0;
    f->offset += count;
    for (uint32_t done = count; done < bytes && rc == 0; done += count) {
        count = bytes - done < sizeof zeroes ? bytes - done : (uint32_t)sizeof zeroes;
        rc = memory_write(f->memory, gpa + done, zeroes, count);
    }
    return rc;
}

static int execute(struct fw_cfg *f, uint32_t control, uint32_t bytes, uint64_t gpa)
{
    uint32_t left;
    if (control & DMA_SELECT)
        choose(f, (uint16_t)(control >> 16));
    if (control & DMA_READ)
        return copy_out(f, gpa, bytes);
    if (control & DMA_WRITE)
        return -EPERM;
    if (control & DMA_SKIP) {
        (void)rest(f, &left);
        f->offset += bytes < left ? bytes : left;
    }
    return 0;
}

static void run_command(struct fw_cfg *f, uint64_t gpa)
{
    struct command c;
    if (memory_read(f->memory, gpa, &c, sizeof c))
        return; /* there is no place to say so */
    int rc = execute(f, be32toh(c.control), be32toh(c.length), be64toh(c.address));
    uint32_t control = htobe32(rc ? DMA_ERROR : 0);
    (void)memory_write(f->memory, gpa, &control, sizeof control);
}

static uint64_t dma_read(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)(uint8_t)dma_signature[offset + i] << (8 * i);
    return value;
}

static void dma_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct fw_cfg *f = device;
    if (size != 4 || offset % 4)
        return;
    if (offset == 0) {
        f->dma_high = be32toh((uint32_t)value);
        return;
    }
    uint64_t gpa = (uint64_t)f->dma_high << 32 | be32toh((uint32_t)value);
    f->dma_high = 0;
    run_command(f, gpa);
}

static const struct bus_ops dma_ops = {.read = dma_read, .write = dma_write};

/* ---- what is offered ---- */

int fw_cfg_add(struct fw_cfg *f, uint16_t key, const void *data, size_t bytes, struct err *err)
{
    if (f->item_count == FW_CFG_ITEM_MAX)
        return err_set(err, ENOSPC, "fw_cfg holds %d items at the most", FW_CFG_ITEM_MAX);
    if (bytes > FW_CFG_ITEM_BYTES_MAX)
        return err_set(err, EINVAL, "fw_cfg item %xh is %zu bytes long, longer than %d", key, bytes,
                       FW_CFG_ITEM_BYTES_MAX);
    for (unsigned i = 0; i < f->item_count; i++)
        if (f->items[i].key == key || key == FW_CFG_DIRECTORY)
            return err_set(err, EEXIST, "fw_cfg has an item %xh already", key);
    uint8_t *copy = malloc(bytes ? bytes : 1);
    if (!copy)
        return err_set(err, ENOMEM, "no memory for fw_cfg item %xh", key);
    if (bytes)
        memcpy(copy, data, bytes);
    f->items[f->item_count++] = (struct item){.key = key, .bytes = (uint32_t)bytes, .data = copy};
    return 0;
}

int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, size_t bytes, struct err *err)
{
    size_t length = strlen(name);
    if (length == 0 || length > FW_CFG_NAME_MAX)
        return err_set(err, EINVAL, "fw_cfg file '%s': a name has 1 to %d letters", name, FW_CFG_NAME_MAX);
    for (unsigned i = 0; i < f->file_count; i++)
        if (strcmp(f->directory.files[i].name, name) == 0)
            return err_set(err, EEXIST, "fw_cfg has a file '%s' already", name);
    uint16_t key = (uint16_t)(FW_CFG_FILE_FIRST + f->file_count);
    int rc = fw_cfg_add(f, key, data, bytes, err);
    if (rc)
        return rc;
    struct file *file = &f->directory.files[f->file_count++];
    *file = (struct file){.bytes = htobe32((uint32_t)bytes), .key = htobe16(key)};
    memcpy(file->name, name, length);
    f->directory.count = htobe32(f->file_count);
    return 0;
}

/* ---- the device ---- */

static void fw_cfg_reset(struct device *device)
{
    struct fw_cfg *f = CONTAINER_OF(device, struct fw_cfg, device);
    choose(f, FW_CFG_SIGNATURE);
    f->dma_high = 0;
}

/* The items are the machine's, which the loader has made from the same configuration. */
static void fw_cfg_state(struct device *device, struct state *s)
{
    struct fw_cfg *f = CONTAINER_OF(device, struct fw_cfg, device);
    state_u16(s, "key", &f->key);
    state_u32(s, "offset", &f->offset);
    state_u32(s, "dma-high", &f->dma_high);
}

static int add_regions(struct fw_cfg *f, struct err *err)
{
    bus_lock(f->bus);
    int rc = bus_add(f->bus, &f->select_ports);
    if (rc == 0)
        rc = bus_add(f->bus, &f->dma_ports);
    bus_unlock(f->bus);
    return rc ? err_set(err, -rc, "ports 510h to 51bh are taken") : 0;
}

static int add_identity(struct fw_cfg *f, struct err *err)
{
    const uint32_t id = htole32(ID_TRADITIONAL | ID_DMA);
    int rc = fw_cfg_add(f, FW_CFG_SIGNATURE, "QEMU", 4, err);
    return rc ? rc : fw_cfg_add(f, FW_CFG_ID, &id, sizeof id, err);
}

struct fw_cfg *fw_cfg_new(struct bus *bus, struct memory *memory, struct err *err)
{
    struct fw_cfg *f = calloc(1, sizeof *f);
    if (!f) {
        err_set(err, ENOMEM, "no memory for fw_cfg");
        return NULL;
    }
    f->device =
        (struct device){.name = "fw-cfg", .version = STATE_FORMAT, .reset = fw_cfg_reset, .state = fw_cfg_state};
    f->bus = bus;
    f->memory = memory;
    f->select_ports = (struct bus_region){.name = "fw-cfg",
                                          .ops = &select_ops,
                                          .device = f,
                                          .space = BUS_PORTS,
                                          .base = SELECT_PORT,
                                          .bytes = SELECT_BYTES};
    f->dma_ports = (struct bus_region){
        .name = "fw-cfg-dma", .ops = &dma_ops, .device = f, .space = BUS_PORTS, .base = DMA_PORT, .bytes = DMA_BYTES};
    if (add_identity(f, err) || add_regions(f, err)) {
        fw_cfg_free(f);
        return NULL;
    }
    return f;
}

void fw_cfg_free(struct fw_cfg *f)
{
    if (!f)
        return;
    bus_lock(f->bus);
    bus_remove(f->bus, &f->select_ports);
    bus_remove(f->bus, &f->dma_ports);
    bus_unlock(f->bus);
    for (unsigned i = 0; i < f->item_count; i++)
        free(f->items[i].data);
    free(f);
}

struct device *fw_cfg_device(struct fw_cfg *f)
{
    return &f->device;
}
