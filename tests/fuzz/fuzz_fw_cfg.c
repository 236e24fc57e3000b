/* fw_cfg: any port access and any command in memory. Nothing outside of the guest's memory is written, which
 * AddressSanitizer sees, and its state survives. */
#include <stdlib.h>

#include "hv/machine/acpi_tables.h"
#include "hv/machine/fw_cfg.h"
#include "hv/machine/fw_cfg_board.h"
#include "tests/fuzz/fuzz_board.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_board *b = fuzz_board();
    static struct fw_cfg *fw_cfg;
    if (!fw_cfg) {
        const struct fw_cfg_board board = {.memory = b->memory, .vcpus = 2, .bootorder = "/disk\n"};
        struct acpi_config config = {.vcpus = 2};
        acpi_config_windows(&config, b->memory, 40);
        struct acpi_tables *tables = acpi_tables_new(&config, NULL);
        fw_cfg = fw_cfg_new(b->bus, b->memory, NULL);
        if (!fw_cfg || !tables || fw_cfg_board_add(fw_cfg, &board, NULL) || acpi_tables_offer(tables, fw_cfg, NULL))
            abort();
        acpi_tables_free(tables);
    }
    struct device *device = fw_cfg_device(fw_cfg);
    bus_lock(b->bus);
    device->reset(device);
    bus_unlock(b->bus);
    struct fuzz_record record;
    while (fuzz_next(&data, &size, &record)) {
        if (record.action == FUZZ_IN || record.action == FUZZ_OUT)
            record.address = 0x510 + record.address % 12;
        fuzz_do(b, &record);
    }
    fuzz_round_trip(b, device, device);
    return 0;
}
