/* See luks_key.h. */
#include "nbd/luks_key.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#include "node/base/err.h"

enum { PAGE_BYTES = 4096, LINE_MAX_BYTES = 512 };

int luks_key_new(size_t len_bytes, struct luks_key *key, struct err *err)
{
    size_t room = (len_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    room = room ? room : PAGE_BYTES;
    void *bytes = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED)
        return err_set(err, ENOMEM, "no memory for a key");
    madvise(bytes, room, MADV_DONTDUMP);
    *key = (struct luks_key){
        .bytes = bytes, .len_bytes = len_bytes, .room_bytes = room, .locked = mlock(bytes, room) == 0};
    return 0;
}

void luks_key_fini(struct luks_key *key)
{
    if (!key->bytes)
        return;
    OPENSSL_cleanse(key->bytes, key->room_bytes);
    munmap(key->bytes, key->room_bytes);
    *key = (struct luks_key){0};
}

/* Reads to the end: 0 or -errno; -EFBIG there is more than room. */
static int read_all(int fd, struct luks_key *key)
{
    key->len_bytes = 0;
    for (;;) {
        uint8_t beyond;
        size_t left = key->room_bytes - key->len_bytes;
        ssize_t n = read(fd, left ? key->bytes + key->len_bytes : &beyond, left ? left : 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        if (!left)
            return -EFBIG;
        key->len_bytes += (size_t)n;
    }
}

static int read_named(int fd, const char *name, struct luks_key *key, struct err *err)
{
    struct luks_key k = {0};
    int rc = luks_key_new(LUKS_PASSPHRASE_MAX, &k, err);
    if (rc)
        return rc;
    rc = read_all(fd, &k);
    if (rc == -EFBIG)
        err_set(err, EINVAL, "the key in %s is over %d bytes", name, LUKS_PASSPHRASE_MAX);
    else if (rc)
        err_set(err, -rc, "cannot read the key from %s: %s", name, strerror(-rc));
    else if (!k.len_bytes)
        rc = err_set(err, EINVAL, "the key in %s is empty", name);
    if (rc) {
        luks_key_fini(&k);
        return rc == -EFBIG ? -EINVAL : rc;
    }
    *key = k;
    return 0;
}

int luks_key_read_file(const char *path, struct luks_key *key, struct err *err)
{
    char name[160];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_set(err, errno, "cannot open the key file '%.120s': %s", path, strerror(errno));
    snprintf(name, sizeof name, "'%.120s'", path);
    int rc = read_named(fd, name, key, err);
    close(fd);
    return rc;
}

int luks_key_read_descriptor(int fd, struct luks_key *key, struct err *err)
{
    char name[32];
    snprintf(name, sizeof name, "descriptor %d", fd);
    int rc = read_named(fd, name, key, err);
    close(fd);
    return rc;
}

/* ---- the terminal ---- */

static int read_line(int fd, struct luks_key *key, struct err *err)
{
    key->len_bytes = 0;
    for (;;) {
        uint8_t byte;
        ssize_t n = read(fd, &byte, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, errno, "cannot read from the terminal: %s", strerror(errno));
        if (n == 0 || byte == '\n')
            return key->len_bytes ? 0 : err_set(err, EINVAL, "an empty passphrase");
        if (key->len_bytes == LINE_MAX_BYTES)
            return err_set(err, EINVAL, "a passphrase that is typed has at most %d bytes", LINE_MAX_BYTES);
        key->bytes[key->len_bytes++] = byte;
    }
}

int luks_key_ask(const char *prompt, struct luks_key *key, struct err *err)
{
    struct termios shown, hidden;
    struct luks_key k = {0};
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || tcgetattr(fd, &shown) < 0) {
        if (fd >= 0)
            close(fd);
        return err_set(err, ENXIO, "there is no terminal to ask for the passphrase: give a key file or descriptor");
    }
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
    hidden.c_lflag |= ECHONL | ICANON | ISIG;
    int rc = luks_key_new(LINE_MAX_BYTES, &k, err);
    if (!rc) {
        tcsetattr(fd, TCSAFLUSH, &hidden);
        if (write(fd, prompt, strlen(prompt)) < 0)
            rc = err_set(err, errno, "cannot write to the terminal: %s", strerror(errno));
        rc = rc ? rc : read_line(fd, &k, err);
        tcsetattr(fd, TCSAFLUSH, &shown);
    }
    close(fd);
    if (rc)
        luks_key_fini(&k);
    else
        *key = k;
    return rc;
}
