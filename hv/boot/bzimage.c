/* See bzimage.h. */
#include "hv/boot/bzimage.h"

#include <errno.h>

#include "hv/boot/view.h"
#include "node/base/err.h"

enum header_field {
    SETUP_SECTORS = 0x1f1,
    CODE_PARAGRAPHS = 0x1f4,
    BOOT_FLAG = 0x1fe,
    JUMP_LENGTH = 0x201,
    MAGIC = 0x202,
    VERSION = 0x206,
    LOAD_FLAGS = 0x211,
    INITRD_MAX = 0x22c,
    ALIGNMENT = 0x230,
    RELOCATABLE = 0x234,
    XLOAD_FLAGS = 0x236,
    CMDLINE_MAX = 0x238,
    PAYLOAD_OFFSET = 0x248,
    PAYLOAD_BYTES = 0x24c,
    PREFERRED_ADDRESS = 0x258,
    INIT_BYTES = 0x260,
};

enum {
    SECTOR_BYTES = 512,
    SETUP_SECTORS_DEFAULT = 4,
    PARAGRAPH_BYTES = 16,
    BOOT_FLAG_VALUE = 0xaa55,
    MAGIC_VALUE = 0x53726448, /* "HdrS" */
    VERSION_PAYLOAD = 0x208,
    VERSION_64 = 0x20c,
    LOADED_HIGH = 1,
    XLOAD_64 = 1,
};

bool bzimage_is(const uint8_t *data, size_t bytes)
{
    const struct view v = {data, bytes};
    return view_u16(&v, BOOT_FLAG) == BOOT_FLAG_VALUE && view_u32(&v, MAGIC) == MAGIC_VALUE;
}

static int find_payload(const struct view *v, struct bzimage *image, struct err *err)
{
    uint32_t at = view_u32(v, PAYLOAD_OFFSET), bytes = view_u32(v, PAYLOAD_BYTES);
    const struct view code = {image->code, image->code_bytes};
    if (image->version < VERSION_PAYLOAD || !at || !bytes)
        return 0;
    image->payload = view_at(&code, at, bytes);
    image->payload_bytes = bytes;
    if (!image->payload)
        return err_set(err, EINVAL, "its header says that %u bytes of kernel start at %u, but there are %zu", bytes, at,
                       image->code_bytes);
    return 0;
}

int bzimage_parse(const uint8_t *data, size_t bytes, struct bzimage *image, struct err *err)
{
    const struct view v = {data, bytes};
    uint16_t version = view_u16(&v, VERSION);
    if (!bzimage_is(data, bytes))
        return err_set(err, EINVAL, "it is no Linux kernel: the signatures 55AAh and HdrS are not there");
    if (version < VERSION_64)
        return err_set(err, EINVAL, "its boot protocol is %u.%02u: kernels before Linux 3.8 are not booted directly",
                       version >> 8, version & 0xff);
    if (bytes < BZIMAGE_HEADER_END_MAX)
        return err_set(err, EINVAL, "it ends within its setup header: the file is cut off");
    if (!(data[LOAD_FLAGS] & LOADED_HIGH))
        return err_set(err, EINVAL, "it is a zImage, which loads below 640 KiB: a bzImage is needed");
    size_t setup_sectors = data[SETUP_SECTORS] ? data[SETUP_SECTORS] : SETUP_SECTORS_DEFAULT;
    size_t code_at = (setup_sectors + 1) * SECTOR_BYTES, header_end = (size_t)MAGIC + data[JUMP_LENGTH];
    uint64_t code_bytes = (uint64_t)view_u32(&v, CODE_PARAGRAPHS) * PARAGRAPH_BYTES;
    if (header_end > BZIMAGE_HEADER_END_MAX || header_end > code_at || header_end < INIT_BYTES + sizeof(uint32_t))
        return err_set(err, EINVAL, "its setup header ends at %zx, which cannot be", header_end);
    if (code_at >= bytes || !code_bytes)
        return err_set(err, EINVAL, "it ends within its setup code: the file is cut off");
    if (code_bytes > bytes - code_at)
        code_bytes = bytes - code_at; /* the last paragraph is not filled up */
    *image = (struct bzimage){
        .header = data + BZIMAGE_HEADER,
        .header_bytes = header_end - BZIMAGE_HEADER,
        .code = data + code_at,
        .code_bytes = (size_t)code_bytes,
        .version = version,
        .entry_64 = view_u16(&v, XLOAD_FLAGS) & XLOAD_64,
        .relocatable = data[RELOCATABLE],
        .alignment = view_u32(&v, ALIGNMENT),
        .preferred_address = view_u64(&v, PREFERRED_ADDRESS),
        .init_bytes = view_u32(&v, INIT_BYTES),
        .initrd_max = view_u32(&v, INITRD_MAX),
        .cmdline_max = view_u32(&v, CMDLINE_MAX),
    };
    return find_payload(&v, image, err);
}
