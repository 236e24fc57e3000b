/* Opens what a copy writes to, and makes it large enough: a file that does not exist is created
 * (raw, sparse), what can be resized is grown, anything else must be large enough already. Thread:
 * main. */
#ifndef NBD_IMG_DESTINATION_H
#define NBD_IMG_DESTINATION_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;
struct img_session;

struct img_destination {
    struct blk *blk;    /* the caller closes it */
    bool created;       /* a new file */
    uint64_t zero_from; /* all that lies behind this offset is known to read as zeroes */
};

/* text: a location; needed_bytes: how large it has to be. Errors name the location; a file that was
 * created is left only if it was opened, too. */
int img_destination_open(struct img_session *session, const char *text, uint64_t needed_bytes, bool create,
                         struct img_destination *destination, struct err *err);

#endif
