/* The load that kvm.py puts on a guest's disk or network, and the other end of the network: small and static, so that a
 * RAM disk can hold it and it costs the guest little beside the work.
 *
 *     kvm_load read PATH COUNT BLOCK_BYTES DEPTH random|stream       prints "load: OPERATIONS NANOSECONDS"
 *     kvm_load send ADDRESS PORT MIB                                 prints "load: BYTES NANOSECONDS"
 *     kvm_load receive ADDRESS PORT MIB                              the same, the other way round
 *     kvm_load serve PORT                                            for send and receive; until it is killed
 *
 * Disks are read with O_DIRECT through the kernel's native asynchronous calls (io_submit(2)), taken here directly:
 * every finished block is asked anew at once. The work is given and not the time, so that what surrounds it (starting
 * this program, the console) weighs the same for all. Who connects to `serve` says with its first byte what it wants.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH_MAX = 256, PAGE_BYTES = 4096, STREAM_BYTES = 128 << 10, SEND = 's', RECEIVE = 'r' };

static char stream_buffer[STREAM_BYTES];

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "kvm_load: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static void report(uint64_t count, uint64_t begin_ns)
{
    printf("load: %llu %llu\n", (unsigned long long)count, (unsigned long long)(now_ns() - begin_ns));
}

/* ---- disks ---- */

struct disk_load {
    int fd;
    uint64_t blocks, block_bytes, next, seed;
    bool random;
};

/* xorshift64: the same places in the same order for everybody. */
static uint64_t next_offset(struct disk_load *d)
{
    if (!d->random)
        return d->next++ % d->blocks * d->block_bytes;
    d->seed ^= d->seed << 13;
    d->seed ^= d->seed >> 7;
    d->seed ^= d->seed << 17;
    return d->seed % d->blocks * d->block_bytes;
}

static void ask(aio_context_t context, struct disk_load *d, struct iocb **list, long count)
{
    for (long i = 0; i < count; i++)
        list[i]->aio_offset = (int64_t)next_offset(d);
    while (count) {
        long n = syscall(SYS_io_submit, context, count, list);
        if (n < 0)
            fail("cannot ask the disk");
        list += n;
        count -= n;
    }
}

static void read_disk(struct disk_load *d, unsigned depth, uint64_t count)
{
    static struct iocb blocks[DEPTH_MAX];
    struct iocb *list[DEPTH_MAX];
    struct io_event done[DEPTH_MAX];
    aio_context_t context = 0;
    if (syscall(SYS_io_setup, depth, &context) < 0)
        fail("io_setup");
    char *buffers = aligned_alloc(PAGE_BYTES, depth * d->block_bytes);
    if (!buffers)
        fail("buffers");
    for (unsigned i = 0; i < depth; i++) {
        blocks[i] = (struct iocb){.aio_fildes = (uint32_t)d->fd,
                                  .aio_lio_opcode = IOCB_CMD_PREAD,
                                  .aio_buf = (uintptr_t)(buffers + i * d->block_bytes),
                                  .aio_nbytes = d->block_bytes,
                                  .aio_data = i};
        list[i] = &blocks[i];
    }
    uint64_t begin_ns = now_ns(), operations = 0;
    ask(context, d, list, depth);
    do {
        long n = syscall(SYS_io_getevents, context, 1l, (long)depth, done, NULL);
        if (n < 0)
            fail("io_getevents");
        for (long i = 0; i < n; i++) {
            if (done[i].res != (int64_t)d->block_bytes) {
                errno = done[i].res < 0 ? (int)-done[i].res : EIO;
                fail("the disk");
            }
            list[i] = &blocks[done[i].data];
        }
        operations += (uint64_t)n;
        ask(context, d, list, n);
    } while (operations < count);
    report(operations, begin_ns);
}

static int command_read(char **argument)
{
    struct disk_load d = {.fd = open(argument[0], O_RDONLY | O_DIRECT), .seed = 88172645463325252u};
    uint64_t bytes;
    if (d.fd < 0 || ioctl(d.fd, BLKGETSIZE64, &bytes) < 0)
        fail(argument[0]);
    unsigned depth = (unsigned)atoi(argument[3]);
    d.block_bytes = (uint64_t)atoll(argument[2]);
    d.blocks = bytes / d.block_bytes;
    d.random = strcmp(argument[4], "random") == 0;
    if (!d.blocks || !depth || depth > DEPTH_MAX)
        return EXIT_FAILURE;
    read_disk(&d, depth, (uint64_t)atoll(argument[1]));
    return EXIT_SUCCESS;
}

/* ---- networks ---- */

static struct sockaddr_in address_of(const char *text, const char *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (text && inet_pton(AF_INET, text, &a.sin_addr) != 1) {
        errno = EINVAL;
        fail(text);
    }
    return a;
}

static uint64_t pump(int fd, bool out, uint64_t most_bytes)
{
    uint64_t bytes = 0;
    do {
        ssize_t n = out ? send(fd, stream_buffer, sizeof stream_buffer, MSG_NOSIGNAL)
                        : recv(fd, stream_buffer, sizeof stream_buffer, 0);
        if (n <= 0)
            break;
        bytes += (uint64_t)n;
    } while (bytes < most_bytes);
    return bytes;
}

static int command_stream(char **argument, char what)
{
    struct sockaddr_in to = address_of(argument[0], argument[1]);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0 || write(fd, &what, 1) != 1)
        fail(argument[0]);
    uint64_t begin_ns = now_ns();
    report(pump(fd, what == SEND, (uint64_t)atoll(argument[2]) << 20), begin_ns);
    return EXIT_SUCCESS;
}

static int command_serve(char **argument)
{
    struct sockaddr_in here = address_of(NULL, argument[0]);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    signal(SIGCHLD, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (listener < 0 || bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, 4) < 0)
        fail(argument[0]);
    for (;;) {
        char what;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            fail("accept");
        if (fork() == 0) { /* a guest that is stopped with its end still unsaid keeps one of them alone busy */
            if (read(fd, &what, 1) == 1)
                pump(fd, what == RECEIVE, UINT64_MAX);
            _exit(EXIT_SUCCESS);
        }
        close(fd);
    }
}

int main(int count, char **word)
{
    if (count == 7 && strcmp(word[1], "read") == 0)
        return command_read(word + 2);
    if (count == 5 && strcmp(word[1], "send") == 0)
        return command_stream(word + 2, SEND);
    if (count == 5 && strcmp(word[1], "receive") == 0)
        return command_stream(word + 2, RECEIVE);
    if (count == 3 && strcmp(word[1], "serve") == 0)
        return command_serve(word + 2);
    fprintf(stderr, "kvm_load: the words make no sense: see its source\n");
    return EXIT_FAILURE;
}
