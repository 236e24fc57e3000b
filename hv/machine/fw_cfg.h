/* fw_cfg: how firmware (and a guest's kernel) reads what the machine has to tell: numbers by key, files by name.
 *
 *     port 510h: choose a key (16 bits)     port 511h: read it, byte by byte
 *     port 514h: address of a command in guest memory, big-endian, high half first; the low half starts it
 *
 * Items are added before the guest runs and never change; a guest cannot write them. Past an item's end zeroes are
 * read.
 *
 * Threads: with the bus locked; main for new, add and free.
 * Source: the interface that QEMU documents in docs/specs/fw_cfg, which SeaBIOS and Linux use. */
#ifndef HV_MACHINE_FW_CFG_H
#define HV_MACHINE_FW_CFG_H

#include <stddef.h>
#include <stdint.h>

struct bus;
struct device;
struct err;
struct fw_cfg;
struct memory;

enum fw_cfg_key {
    FW_CFG_SIGNATURE = 0x00, /* "QEMU"; it, the next and the directory are there from the start */
    FW_CFG_ID = 0x01,
    FW_CFG_RAM_BYTES = 0x03, /* u64 */
    FW_CFG_NOGRAPHIC = 0x04, /* u16 */
    FW_CFG_CPUS = 0x05,      /* u16 */
    FW_CFG_BOOT_MENU = 0x0e, /* u16 */
    FW_CFG_CPUS_MAX = 0x0f,  /* u16 */
    FW_CFG_DIRECTORY = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_IRQ0_OVERRIDE = 0x8002, /* u8: 1, ISA interrupt 0 is pin 2 of the IOAPIC */
};

enum { FW_CFG_ITEM_MAX = 48, FW_CFG_NAME_MAX = 55, FW_CFG_ITEM_BYTES_MAX = 16 << 20, FW_CFG_DMA_BYTES_MAX = 64 << 20 };

struct fw_cfg *fw_cfg_new(struct bus *bus, struct memory *memory, struct err *err);
void fw_cfg_free(struct fw_cfg *fw_cfg);
struct device *fw_cfg_device(struct fw_cfg *fw_cfg);

/* Copy data; numbers are little-endian. -EEXIST, -ENOSPC, -EINVAL (name or length), -ENOMEM. */
int fw_cfg_add(struct fw_cfg *fw_cfg, uint16_t key, const void *data, size_t bytes, struct err *err);
int fw_cfg_add_file(struct fw_cfg *fw_cfg, const char *name, const void *data, size_t bytes, struct err *err);

#endif
