/* Writes the memory of a guest as hv/boot leaves it, so that another machine can start it.
 * usage: boot_image KERNEL INITRD METHOD LOW HIGH   prints the entry; LOW is 0 to 90000h, HIGH is all from 1 MiB on */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "hv/boot/boot.h"
#include "hv/cpu_state.h"
#include "hv/memory.h"
#include "node/base/err.h"

enum { RAM_BYTES = 256 << 20, LOW_BYTES = 0x90000, HIGH_START = 1 << 20, FILE_BYTES_MAX = 128 << 20 };

static uint8_t *read_file(const char *path, size_t *bytes)
{
    uint8_t *data = malloc(FILE_BYTES_MAX);
    FILE *f = fopen(path, "r");
    if (!f || !data) {
        perror(path);
        exit(1);
    }
    *bytes = fread(data, 1, FILE_BYTES_MAX, f);
    fclose(f);
    return data;
}

static void write_file(const char *path, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "w");
    if (!f || fwrite(data, 1, bytes, f) != bytes || fclose(f)) {
        perror(path);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct cpu_state cpu;
    struct boot_files files = {.cmdline = "console=ttyS0 panic=-1 noapic"};
    if (argc != 6)
        return 2;
    struct memory *memory = memory_new(RAM_BYTES, &err);
    uint8_t *kernel = read_file(argv[1], &files.kernel_bytes), *initrd = read_file(argv[2], &files.initrd_bytes);
    files.kernel = kernel;
    files.initrd = initrd;
    files.method = (enum boot_method)atoi(argv[3]);
    int rc = memory ? boot_kernel(memory, &files, &cpu, &err) : -1;
    if (rc) {
        fprintf(stderr, "%s\n", err.text);
    } else {
        write_file(argv[4], memory_at(memory, 0, LOW_BYTES), LOW_BYTES);
        write_file(argv[5], memory_at(memory, HIGH_START, RAM_BYTES - HIGH_START), RAM_BYTES - HIGH_START);
        printf("%#" PRIx64 "\n", cpu.rip);
    }
    free(kernel);
    free(initrd);
    memory_free(memory);
    return rc ? 1 : 0;
}
