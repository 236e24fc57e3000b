/* A saved guest: any file is loaded into a guest's memory or refused with a sentence. The header's checksum is put
 * right. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "hv/memory.h"
#include "hv/saved_guest.h"
#include "node/base/err.h"
#include "tests/fuzz/fuzz_env.h"

enum { HEADER = 4096, SUM_AT = 28, RAM = 2 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct memory *memory;
    struct saved_guest saved;
    struct err err = {0};
    uint8_t header[HEADER] = "drover-guest\1";
    if (!memory)
        memory = memory_new(RAM, &err);
    size_t head = size < HEADER - 13 ? size : HEADER - 13;
    memcpy(header + 13, data, head);
    memset(header + SUM_AT, 0, 4);
    uint32_t sum = (uint32_t)crc32_z(0, header, sizeof header);
    memcpy(header + SUM_AT, &sum, sizeof sum);
    int fd = memfd_create("saved", MFD_CLOEXEC);
    if (pwrite(fd, header, sizeof header, 0) < 0 || pwrite(fd, data, size, 3 * RAM) < 0 || ftruncate(fd, 4 * RAM) < 0)
        abort();
    int rc = saved_guest_open(&saved, fd, &err);
    if (!rc) {
        rc = saved_guest_read(&saved, memory, &err);
        saved_guest_fini(&saved);
    }
    if (rc && !*err.text)
        abort();
    close(fd);
    return 0;
}
