/* See code_memory.h. */
#include "hv/dbt/code_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "node/base/err.h"

enum { MFD_EXECUTABLE = 0x10 }; /* MFD_EXEC of Linux 6.3; older kernels refuse the bit and need none */

static int open_memfd(void)
{
    int fd = memfd_create("drover-code", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXECUTABLE);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("drover-code", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

static void *map(int fd, size_t bytes, int protection)
{
    void *at = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

struct code_memory *code_memory_new(size_t bytes, struct err *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct code_memory *m = calloc(1, sizeof(*m));
    int fd = -1;
    if (!m) {
        err_set(err, ENOMEM, "no memory for the engine's code");
        return NULL;
    }
    m->bytes = (bytes + page - 1) & ~(page - 1);
    fd = open_memfd();
    if (fd < 0 || ftruncate(fd, (off_t)m->bytes)) {
        err_set(err, errno, "cannot make %zu bytes of memory for the engine's code: %s", m->bytes, strerror(errno));
        goto out;
    }
    /* nobody may cut the file under a running vCPU */
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
        err_set(err, errno, "cannot seal the engine's code memory: %s", strerror(errno));
        goto out;
    }
    m->rw = map(fd, m->bytes, PROT_READ | PROT_WRITE);
    if (m->rw)
        m->rx = map(fd, m->bytes, PROT_READ | PROT_EXEC);
    if (!m->rx)
        err_set(err, errno,
                "cannot map %zu bytes for the engine's code: %s; if this host forbids executable memory files "
                "(vm.memfd_noexec, SELinux execmem), allow them for drover-guest or use --engine kvm",
                m->bytes, strerror(errno));
out:
    if (fd >= 0)
        close(fd);
    if (m->rx)
        return m;
    code_memory_free(m);
    return NULL;
}

void code_memory_free(struct code_memory *m)
{
    if (!m)
        return;
    if (m->rx)
        munmap((void *)(uintptr_t)m->rx, m->bytes);
    if (m->rw)
        munmap(m->rw, m->bytes);
    free(m);
}

void code_memory_release(struct code_memory *m, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), keep = (bytes + page - 1) & ~(page - 1);
    if (keep < m->bytes)
        madvise(m->rw + keep, m->bytes - keep, MADV_REMOVE); /* refused: it stays where it is */
}

/* IRET is the one serialising instruction that user mode has and no hypervisor intercepts (CPUID costs 10 us in a
 * virtual machine). It pops what an interrupt would have pushed and goes to the next instruction. */
void code_memory_publish(void)
{
    uint64_t stack, selector;
    __asm__ volatile("mov %%rsp, %0\n\t"
                     "lea -128(%%rsp), %%rsp\n\t" /* past the red zone */
                     "and $-16, %%rsp\n\t"
                     "mov %%ss, %k1\n\t"
                     "push %1\n\t"
                     "push %0\n\t"
                     "pushfq\n\t"
                     "mov %%cs, %k1\n\t"
                     "push %1\n\t"
                     "lea 1f(%%rip), %1\n\t"
                     "push %1\n\t"
                     "iretq\n"
                     "1:"
                     : "=&r"(stack), "=&r"(selector)
                     :
                     : "memory", "cc");
}
