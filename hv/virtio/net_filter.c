/* See net_filter.h. */
#include "hv/virtio/net_filter.h"

#include <linux/virtio_net.h>
#include <string.h>

#include "hv/state.h"

void net_filter_init(struct net_filter *f, const uint8_t *own)
{
    pthread_mutex_init(&f->lock, NULL);
    net_filter_reset(f, own);
}

void net_filter_fini(struct net_filter *f)
{
    pthread_mutex_destroy(&f->lock);
}

static void clear_tables(struct net_filter *f)
{
    f->count = 0;
    f->all_unicast = f->all_multicast = false;
}

void net_filter_reset(struct net_filter *f, const uint8_t *own)
{
    pthread_mutex_lock(&f->lock);
    f->on = false;
    memcpy(f->own, own, NET_ADDRESS_BYTES);
    memset(f->modes, 0, sizeof f->modes);
    memset(f->addresses, 0, sizeof f->addresses);
    f->modes[VIRTIO_NET_CTRL_RX_PROMISC] = true;
    clear_tables(f);
    pthread_mutex_unlock(&f->lock);
}

void net_filter_start(struct net_filter *f)
{
    pthread_mutex_lock(&f->lock);
    f->on = true;
    pthread_mutex_unlock(&f->lock);
}

void net_filter_set_own(struct net_filter *f, const uint8_t *own)
{
    pthread_mutex_lock(&f->lock);
    memcpy(f->own, own, NET_ADDRESS_BYTES);
    pthread_mutex_unlock(&f->lock);
}

void net_filter_own(struct net_filter *f, uint8_t *to)
{
    pthread_mutex_lock(&f->lock);
    memcpy(to, f->own, NET_ADDRESS_BYTES);
    pthread_mutex_unlock(&f->lock);
}

bool net_filter_set_mode(struct net_filter *f, unsigned mode, bool on)
{
    if (mode >= NET_FILTER_MODES)
        return false;
    pthread_mutex_lock(&f->lock);
    f->modes[mode] = on;
    pthread_mutex_unlock(&f->lock);
    return true;
}

static bool is_multicast(const uint8_t *address)
{
    return address[0] & 1;
}

void net_filter_clear(struct net_filter *f)
{
    pthread_mutex_lock(&f->lock);
    clear_tables(f);
    pthread_mutex_unlock(&f->lock);
}

void net_filter_add(struct net_filter *f, const uint8_t *address)
{
    pthread_mutex_lock(&f->lock);
    if (f->count < NET_FILTER_ADDRESSES)
        memcpy(f->addresses[f->count++], address, NET_ADDRESS_BYTES);
    else if (is_multicast(address))
        f->all_multicast = true;
    else
        f->all_unicast = true;
    pthread_mutex_unlock(&f->lock);
}

static bool passes(const struct net_filter *f, const uint8_t *to)
{
    static const uint8_t broadcast[NET_ADDRESS_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    if (!f->on || f->modes[VIRTIO_NET_CTRL_RX_PROMISC])
        return true;
    if (memcmp(to, broadcast, sizeof broadcast) == 0)
        return !f->modes[VIRTIO_NET_CTRL_RX_NOBCAST];
    if (is_multicast(to)) {
        if (f->modes[VIRTIO_NET_CTRL_RX_NOMULTI])
            return false;
        if (f->modes[VIRTIO_NET_CTRL_RX_ALLMULTI] || f->all_multicast)
            return true;
    } else {
        if (f->modes[VIRTIO_NET_CTRL_RX_NOUNI])
            return false;
        if (f->modes[VIRTIO_NET_CTRL_RX_ALLUNI] || f->all_unicast || memcmp(to, f->own, NET_ADDRESS_BYTES) == 0)
            return true;
    }
    for (unsigned i = 0; i < f->count; i++)
        if (memcmp(to, f->addresses[i], NET_ADDRESS_BYTES) == 0)
            return true;
    return false;
}

bool net_filter_passes(struct net_filter *f, const uint8_t *destination)
{
    pthread_mutex_lock(&f->lock);
    bool yes = passes(f, destination);
    pthread_mutex_unlock(&f->lock);
    return yes;
}

void net_filter_state(struct net_filter *f, struct state *s)
{
    state_bool(s, "filter-on", &f->on);
    state_bytes(s, "mac", f->own, sizeof f->own);
    for (unsigned i = 0; i < NET_FILTER_MODES; i++) {
        static const char *const names[NET_FILTER_MODES] = {"rx-promiscuous",  "rx-all-multicast", "rx-all-unicast",
                                                            "rx-no-multicast", "rx-no-unicast",    "rx-no-broadcast"};
        state_bool(s, names[i], &f->modes[i]);
    }
    state_bool(s, "filter-all-unicast", &f->all_unicast);
    state_bool(s, "filter-all-multicast", &f->all_multicast);
    state_u8(s, "filter-count", &f->count);
    state_bytes(s, "filter-addresses", f->addresses, sizeof f->addresses);
    state_check(s, f->count <= NET_FILTER_ADDRESSES, "more addresses than the filter has room for");
    if (f->count > NET_FILTER_ADDRESSES)
        f->count = 0;
}
