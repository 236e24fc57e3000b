/* Puts a kernel where it can start without firmware, and a vCPU at its entry.
 *
 *     file is          auto                                      pvh          linux64
 *     bzImage          unpacked here, entered by PVH; if that    unpacked,    as it is: the guest unpacks it, and
 *                      cannot be, as linux64                     by PVH       places itself (KASLR)
 *     vmlinux (ELF)    by PVH, else as linux64                   by PVH       64-bit entry
 *
 * Unpacking on the host saves a guest most of the instructions of its boot; a kernel entered by PVH stays at the
 * address it was linked for. Files are foreign bytes: each thing that is wrong with one is an error that names it.
 *
 *     0000500h GDT       0007000h start info or zero page   0009000h page tables    0020000h command line
 *     0100000h and up    the kernel at its address; the initrd as high as it may lie
 *
 * Source: Xen, docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h; Linux, Documentation/arch/x86/boot.rst.
 * Thread: the main one, no vCPU running. */
#ifndef HV_BOOT_BOOT_H
#define HV_BOOT_BOOT_H

#include <stddef.h>
#include <stdint.h>

struct cpu_state;
struct err;
struct memory;

enum boot_method { BOOT_AUTO, BOOT_PVH, BOOT_LINUX64 };

struct boot_files {
    const uint8_t *kernel;
    size_t kernel_bytes;
    const uint8_t *initrd; /* or NULL: it is read from initrd_fd, once its place is known */
    int initrd_fd;
    size_t initrd_bytes; /* 0: none */
    const char *cmdline; /* NULL: empty */
    enum boot_method method;
    uint64_t rsdp; /* where the ACPI tables' RSDP is; 0: the kernel searches */
};

/* bsp is reset, then set. -EINVAL, -ENOSPC (the guest has too little memory), -ENOMEM with a text that calls the kernel
 * "it": the caller knows its name. */
int boot_kernel(struct memory *memory, const struct boot_files *files, struct cpu_state *bsp, struct err *err);

/* SeaBIOS: a ROM that ends at 4 GiB (added once: a second call, after a reset, finds it there) and a copy of its last
 * 128 KiB at E0000h; the vCPU is as after power-on. */
int boot_firmware(struct memory *memory, const uint8_t *rom, size_t bytes, struct cpu_state *bsp, struct err *err);

#endif
