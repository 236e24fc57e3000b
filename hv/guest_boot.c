/* Power-on: every vCPU and chip as after a reset, the first vCPU at the entry of its kernel or firmware. Also after
 * each reset: the kernel is put in place anew, the firmware finds its ROM where it was. */
#include <errno.h>

#include "hv/boot/boot.h"
#include "hv/chips_state.h"
#include "hv/cpu_state.h"
#include "hv/guest_files.h"
#include "hv/guest_inside.h"
#include "hv/trace.h"
#include "node/base/err.h"

static int place_kernel(struct guest *g, struct cpu_state *bsp, struct err *err)
{
    static const enum boot_method methods[] = {
        [GUEST_BOOT_AUTO] = BOOT_AUTO, [GUEST_BOOT_PVH] = BOOT_PVH, [GUEST_BOOT_LINUX64] = BOOT_LINUX64};
    struct guest_file *kernel = &g->files->kernel;
    int rc = guest_file_read(kernel, err);
    if (rc)
        return err_prefix(err, "kernel %s", g->config->kernel);
    struct boot_files files = {
        .kernel = kernel->data,
        .kernel_bytes = kernel->bytes,
        .initrd_fd = g->files->initrd.fd,
        .initrd_bytes = g->files->initrd.bytes,
        .cmdline = g->config->cmdline,
        .method = methods[g->config->boot],
    };
    rc = board_place_tables(g->board, &files.rsdp, err);
    rc = rc ? rc : boot_kernel(g->memory, &files, bsp, err);
    guest_file_drop(kernel);
    return rc ? err_prefix(err, "kernel %s", g->config->kernel) : 0;
}

static int place(struct guest *g, struct cpu_state *bsp, struct err *err)
{
    const struct guest_file *firmware = &g->files->firmware;
    if (g->files->kernel.fd >= 0)
        return place_kernel(g, bsp, err);
    if (firmware->data)
        return boot_firmware(g->memory, firmware->data, firmware->bytes, bsp, err);
    return err_set(err, ENOENT, "there is nothing to boot: the guest was loaded without a kernel or a firmware");
}

int guest_boot(struct guest *g, struct err *err)
{
    struct chips_state chips;
    struct cpu_state cpu;
    chips_state_reset(&chips);
    int rc = g->engine->chips_set(g->vm, &chips, err);
    for (unsigned i = 0; !rc && i < g->config->vcpus; i++) {
        cpu_state_reset(&cpu, i);
        if (i == 0)
            rc = place(g, &cpu, err);
        if (i == 0 && !rc)
            trace_debug(TRACE_BOOT,
                        "vCPU 0 begins at %#llx, cs %#x, cr0 %#llx, cr3 %#llx, rsp %#llx, rbx %#llx, rsi %#llx",
                        (unsigned long long)cpu.rip, cpu.seg[CPU_CS].selector, (unsigned long long)cpu.cr0,
                        (unsigned long long)cpu.cr3, (unsigned long long)cpu.gpr[CPU_RSP],
                        (unsigned long long)cpu.gpr[CPU_RBX], (unsigned long long)cpu.gpr[CPU_RSI]);
        rc = rc ? rc : g->engine->set(vcpus_at(g->vcpus, i), &cpu, err);
    }
    return rc;
}
