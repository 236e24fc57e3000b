/* Certificates and keys as files; see certificate.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/certificate.h"
#include "node/base/err.h"
#include "node/base/whole_file.h"

enum { PATH_BYTES_MAX = 4096 };

int certificate_save(const char *path, const char *pem, bool secret, struct err *err)
{
    int rc = whole_file_write(path, pem, strlen(pem), secret ? 0600 : 0644);
    return rc ? err_set(err, -rc, "'%.200s': %s", path, strerror(-rc)) : 0;
}

static int read_all(int fd, char *text, size_t room, size_t *len)
{
    *len = 0;
    while (*len < room) {
        ssize_t n = read(fd, text + *len, room - *len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        *len += (size_t)n;
    }
    return -EFBIG;
}

int certificate_load(const char *path, bool secret, char **pem, struct err *err)
{
    struct stat st;
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, errno, "'%s': %s", path, strerror(errno));
    char *text = malloc(CERTIFICATE_PEM_MAX);
    int rc = !text ? -ENOMEM : fstat(fd, &st) < 0 ? -errno : read_all(fd, text, CERTIFICATE_PEM_MAX - 1, &len);
    close(fd);
    if (text)
        text[len] = 0;
    if (rc)
        err_set(err, -rc, "'%s': %s", path, strerror(-rc));
    else if (secret && (st.st_mode & (S_IRWXG | S_IRWXO)))
        rc = err_set(err, EACCES, "'%s' holds a secret that others may read: chmod 600 it", path);
    if (rc) {
        certificate_pem_free(text);
        return rc;
    }
    *pem = text;
    return 0;
}

struct certificate_file {
    const char *name, *pem;
    bool secret;
};

static int store_files(const char *directory, const struct certificate_file *files, unsigned count, struct err *err)
{
    if (mkdir(directory, 0700) < 0 && errno != EEXIST)
        return err_set(err, errno, "'%s': %s", directory, strerror(errno));
    for (unsigned i = 0; i < count; i++) {
        char path[PATH_BYTES_MAX];
        int n = snprintf(path, sizeof path, "%s/%s", directory, files[i].name);
        if (n < 0 || (size_t)n >= sizeof path)
            return err_set(err, ENAMETOOLONG, "'%.100s...' is too long a path", directory);
        int rc = certificate_save(path, files[i].pem, files[i].secret, err);
        if (rc)
            return rc;
    }
    return 0;
}

int certificate_store(const char *directory, const char *ca, const struct certificate_pair *node, struct err *err)
{
    const struct certificate_file files[] = {
        {"server-key.pem", node->key, true},
        {"client-key.pem", node->key, true},
        {"ca-cert.pem", ca, false},
        {"server-cert.pem", node->certificate, false},
        {"client-cert.pem", node->certificate, false},
    };
    return store_files(directory, files, sizeof files / sizeof *files, err);
}

int certificate_store_renewed(const char *directory, const char *certificate, struct err *err)
{
    const struct certificate_file files[] = {{"server-cert.pem", certificate, false},
                                             {"client-cert.pem", certificate, false}};
    return store_files(directory, files, sizeof files / sizeof *files, err);
}
