/* See luks_claim.h. */
#include "nbd/luks_claim.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "node/base/err.h"

enum { CLAIM_BYTES = 16, TRIES_MAX = 50, TRY_AGAIN_NS = 20000000 };

int luks_claim(int fd, bool change, const char *name, struct err *err)
{
    struct flock lock = {
        .l_type = change ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = CLAIM_BYTES};
    int rc = 0;
    for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
        rc = fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
        if (rc != -EAGAIN && rc != -EACCES)
            break;
        nanosleep(&(struct timespec){.tv_nsec = TRY_AGAIN_NS}, NULL); /* most changes are short */
    }
    if (!rc || rc == -ENOLCK || rc == -EOPNOTSUPP || rc == -EINVAL)
        return 0;
    if (rc == -EAGAIN || rc == -EACCES)
        return err_set(err, EBUSY, "the header of '%s' is being changed by another program: try again", name);
    return err_set(err, -rc, "claiming the header of '%s': %s", name, strerror(-rc));
}
