/* Kernels: any bytes are booted or refused with a sentence, and what is booted starts within the guest's memory. The
 * first byte chooses the method, the next two how much of the rest is the initrd. */
#include <stdlib.h>

#include "hv/boot/boot.h"
#include "hv/cpu_state.h"
#include "hv/memory.h"
#include "node/base/err.h"

enum { RAM_BYTES = 4 << 20, HEAD_BYTES = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct memory *memory;
    struct err err = {0};
    struct cpu_state cpu;
    if (!memory)
        memory = memory_new(RAM_BYTES, &err);
    if (!memory || size < HEAD_BYTES)
        return 0;
    size_t initrd = data[1] | (size_t)data[2] << 8, rest = size - HEAD_BYTES;
    initrd = initrd < rest ? initrd : rest;
    struct boot_files files = {
        .method = data[0] % 3u,
        .kernel = data + HEAD_BYTES,
        .kernel_bytes = rest - initrd,
        .initrd = initrd ? data + size - initrd : NULL,
        .initrd_bytes = initrd,
        .cmdline = "console=ttyS0",
    };
    if (boot_kernel(memory, &files, &cpu, &err)) {
        if (!*err.text)
            abort();
    } else if (!memory_at(memory, cpu.rip, 1) || cpu.rip < 1 << 20) {
        abort();
    }
    return 0;
}
