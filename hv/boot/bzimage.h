/* A Linux kernel as distributions ship it: setup code, then the protected-mode part, which carries the real kernel
 * compressed.
 *
 * Source: Documentation/arch/x86/boot.rst in Linux. Threads: any. */
#ifndef HV_BOOT_BZIMAGE_H
#define HV_BOOT_BZIMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum { BZIMAGE_HEADER = 0x1f1, BZIMAGE_HEADER_END_MAX = 0x290 };

struct bzimage {           /* all point into the file */
    const uint8_t *header; /* from BZIMAGE_HEADER on */
    size_t header_bytes;
    const uint8_t *code; /* protected mode */
    size_t code_bytes;
    const uint8_t *payload; /* NULL: it does not say */
    size_t payload_bytes;
    uint16_t version; /* of the boot protocol, 0x20f */
    bool entry_64;    /* has one, 512 bytes into the code */
    bool relocatable;
    uint32_t alignment;
    uint64_t preferred_address;
    uint32_t init_bytes; /* memory it needs from its load address on */
    uint32_t initrd_max; /* highest address of an initrd's last byte */
    uint32_t cmdline_max;
};

bool bzimage_is(const uint8_t *data, size_t bytes);
/* -EINVAL with a text that says what is wrong with it. */
int bzimage_parse(const uint8_t *data, size_t bytes, struct bzimage *image, struct err *err);

#endif
