/* What firmware is told of this machine through fw_cfg: memory (etc/e820), processors, sleep states, the boot menu.
 * Thread: main, before the guest runs. */
#ifndef HV_MACHINE_FW_CFG_BOARD_H
#define HV_MACHINE_FW_CFG_BOARD_H

#include <stdbool.h>

struct err;
struct fw_cfg;
struct memory;

struct fw_cfg_board {
    const struct memory *memory;
    unsigned vcpus;
    bool boot_menu;        /* offer F12 */
    const char *bootorder; /* NULL, or device paths of SeaBIOS, one a line */
    bool serial_console;   /* the firmware's text goes to COM1, too */
};

int fw_cfg_board_add(struct fw_cfg *fw_cfg, const struct fw_cfg_board *board, struct err *err);

#endif
