/* This node's certificate, given anew by the node that has the authority's key: when half of its time is over, or when
 * somebody wants it (`renew` in the node's object). So a process that was started with the old one may still show it
 * for as long as the other half.
 *
 *     REST --due--> ASKING --certificate, stored--> REST
 *       ^             | not given: again in a minute
 *       +-------------+
 *
 * The key stays: a crash between two files leaves nothing that does not fit together, and who starts meanwhile reads a
 * pair that is good. Thread: the loop's. */
#ifndef NODE_AGENT_RENEWAL_H
#define NODE_AGENT_RENEWAL_H

#include <stdbool.h>
#include <stdint.h>

struct cluster;
struct err;
struct loop;
struct membership;
struct renewal;

struct renewal_place {
    struct loop *loop;
    struct cluster *cluster;
    const struct membership *membership;
    const char *address; /* of this node; lent, as is tls */
    const char *tls;     /* folder of its certificates */
    /* The files are new: what has read them must read them again. */
    void (*renewed)(void *context);
    void *context;
};

/* place is copied. */
struct renewal *renewal_new(const struct renewal_place *place, struct err *err);
/* closed() comes from the loop, once nothing is in flight, and it is freed. */
void renewal_close(struct renewal *renewal, void (*closed)(void *context), void *context);
/* When the certificate runs out, in seconds since 1970. */
int64_t renewal_end_s(const struct renewal *renewal);
/* SHA-256 of the key, as refused-keys has it (node/base/tls_refused.h). */
const char *renewal_key(const struct renewal *renewal);
/* This node gives certificates to others. */
bool renewal_is_authority(const struct renewal *renewal);

#endif
