/* A BIOS in its ROM, and the processor at its reset vector. */
#include <errno.h>

#include "hv/boot/boot.h"
#include "hv/cpu_state.h"
#include "hv/memory.h"
#include "node/base/err.h"

enum {
    BLOCK_BYTES = 64 << 10,
    ROM_BYTES_MAX = 1 << 20,
    SHADOW = 0xe0000,
    SHADOW_BYTES = 128 << 10,
    RESET_VECTOR = 16, /* bytes before the end */
    FAR_JUMP = 0xea,
};

int boot_firmware(struct memory *memory, const uint8_t *rom, size_t bytes, struct cpu_state *bsp, struct err *err)
{
    if (!bytes || bytes % BLOCK_BYTES || bytes > ROM_BYTES_MAX)
        return err_set(err, EINVAL, "firmware: a BIOS has 64 KiB to 1 MiB in steps of 64 KiB, and this has %zu bytes",
                       bytes);
    if (rom[bytes - RESET_VECTOR] != FAR_JUMP)
        return err_set(err, EINVAL, "firmware: there is no jump at the reset vector, so it is no BIOS");
    uint64_t at = memory_high_start - bytes;
    int rc = memory_at(memory, at, bytes) ? 0 : memory_add_rom(memory, at, rom, bytes, err);
    if (rc)
        return err_prefix(err, "firmware");
    size_t shadow = bytes < SHADOW_BYTES ? bytes : SHADOW_BYTES;
    if (memory_write(memory, SHADOW + SHADOW_BYTES - shadow, rom + bytes - shadow, shadow))
        return err_set(err, ENOSPC, "firmware: the guest has less than 1 MiB of memory: give it more");
    cpu_state_reset(bsp, 0);
    return 0;
}
