/* Which frames a card passes on to its guest: its own address, broadcasts, and what the driver asked for. A table that
 * is too small passes everything of its kind.
 *
 * Threads: any (it has a lock). Source: virtio 1.2, 5.1.6.5.1 and 5.1.6.5.2. */
#ifndef HV_VIRTIO_NET_FILTER_H
#define HV_VIRTIO_NET_FILTER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct state;

enum { NET_FILTER_ADDRESSES = 64, NET_ADDRESS_BYTES = 6, NET_FILTER_MODES = 6 };

struct net_filter {
    pthread_mutex_t lock;
    bool on; /* off: everything passes */
    uint8_t own[NET_ADDRESS_BYTES];
    bool modes[NET_FILTER_MODES]; /* by VIRTIO_NET_CTRL_RX_* */
    bool all_unicast, all_multicast;
    uint8_t count;
    uint8_t addresses[NET_FILTER_ADDRESSES][NET_ADDRESS_BYTES];
};

void net_filter_init(struct net_filter *f, const uint8_t *own);
void net_filter_fini(struct net_filter *f);
/* Power-on: off, with this address. */
void net_filter_reset(struct net_filter *f, const uint8_t *own);
void net_filter_start(struct net_filter *f); /* the driver can control it: it filters from now on */

void net_filter_set_own(struct net_filter *f, const uint8_t *own);
void net_filter_own(struct net_filter *f, uint8_t *to);
bool net_filter_set_mode(struct net_filter *f, unsigned mode, bool on); /* false: there is no such mode */
/* The tables are made anew: clear, then add one by one. */
void net_filter_clear(struct net_filter *f);
void net_filter_add(struct net_filter *f, const uint8_t *address);

/* destination: the first six bytes of a frame. */
bool net_filter_passes(struct net_filter *f, const uint8_t *destination);

void net_filter_state(struct net_filter *f, struct state *s);

#endif
