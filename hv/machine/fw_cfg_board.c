/* See fw_cfg_board.h. */
#include "hv/machine/fw_cfg_board.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "hv/machine/fw_cfg.h"
#include "hv/memory.h"
#include "node/base/err.h"

enum { E820_RAM = 1, COM1 = 0x3f8, SLEEP_STATES = 6, SLEEP_SUPPORTED = 0x80 };

struct e820_entry { /* 20 bytes, little-endian */
    uint64_t base, bytes;
    uint32_t type;
} __attribute__((packed));

static int add_u16(struct fw_cfg *fw_cfg, uint16_t key, unsigned value, struct err *err)
{
    uint16_t v = htole16((uint16_t)value);
    return fw_cfg_add(fw_cfg, key, &v, sizeof v, err);
}

/* The slots of RAM; what in them is not usable the firmware knows itself. */
static int add_memory(struct fw_cfg *fw_cfg, const struct memory *memory, struct err *err)
{
    struct e820_entry map[MEMORY_SLOT_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < memory_slot_count(memory); i++) {
        const struct memory_slot *slot = memory_slot(memory, i);
        if (!slot->read_only)
            map[count++] = (struct e820_entry){
                .base = htole64(slot->gpa), .bytes = htole64(slot->bytes), .type = htole32(E820_RAM)};
    }
    uint64_t bytes = htole64(memory_size(memory));
    int rc = fw_cfg_add(fw_cfg, FW_CFG_RAM_BYTES, &bytes, sizeof bytes, err);
    return rc ? rc : fw_cfg_add_file(fw_cfg, "etc/e820", map, count * sizeof map[0], err);
}

static int add_numbers(struct fw_cfg *fw_cfg, const struct fw_cfg_board *board, struct err *err)
{
    const uint8_t one = 1;
    int rc = add_u16(fw_cfg, FW_CFG_NOGRAPHIC, board->serial_console, err);
    rc = rc ? rc : add_u16(fw_cfg, FW_CFG_CPUS, board->vcpus, err);
    rc = rc ? rc : add_u16(fw_cfg, FW_CFG_CPUS_MAX, board->vcpus, err);
    rc = rc ? rc : add_u16(fw_cfg, FW_CFG_BOOT_MENU, board->boot_menu, err);
    return rc ? rc : fw_cfg_add(fw_cfg, FW_CFG_IRQ0_OVERRIDE, &one, sizeof one, err);
}

int fw_cfg_board_add(struct fw_cfg *fw_cfg, const struct fw_cfg_board *board, struct err *err)
{
    /* S0 and S5; S3 and S4 are not there, their numbers stay what firmware expects */
    const uint8_t states[SLEEP_STATES] = {SLEEP_SUPPORTED, 0, 0, 1, 2, SLEEP_SUPPORTED};
    const uint16_t port = htole16(COM1);
    int rc = add_memory(fw_cfg, board->memory, err);
    rc = rc ? rc : add_numbers(fw_cfg, board, err);
    rc = rc ? rc : fw_cfg_add_file(fw_cfg, "etc/system-states", states, sizeof states, err);
    if (rc == 0 && board->bootorder)
        rc = fw_cfg_add_file(fw_cfg, "bootorder", board->bootorder, strlen(board->bootorder) + 1, err);
    if (rc == 0 && board->serial_console)
        rc = fw_cfg_add_file(fw_cfg, "etc/sercon-port", &port, sizeof port, err);
    return rc;
}
