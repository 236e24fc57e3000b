/* node/agent/network.h as a command, for network_test.py: in whatever network namespace it is started.
 *
 *     network_command ensure '{"id":..., "mtu":1450, "vni":7, "local":..., "peers":[...], "gateways":["10.7.0.1/24"]}'
 *     network_command plug|announce '{"guest":..., "index":0, "network":..., "mac":..., "addresses":[...], ...}'
 *     network_command remove NETWORK, unplug GUEST [INDEX], traffic GUEST INDEX, name NETWORK | GUEST INDEX
 *     network_command sweep [ID...]           removes all but what is of these ids; prints how many
 *     network_command cable TAP NAMESPACE     the guest: carries frames between a tap here and a new eth0 over there
 *
 * An error goes to stderr; the exit status is 1 then. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "node/agent/network.h"
#include "node/agent/tap.h"
#include "node/base/err.h"

enum { LIST_MAX = 300, FRAME_MAX = 70000 };

static int finish(int rc, const struct err *err)
{
    if (rc)
        fprintf(stderr, "%s\n", err->text);
    return rc ? 1 : 0;
}

static unsigned addresses_of(json_t *list, struct address *to)
{
    unsigned count = 0;
    size_t i;
    json_t *v;
    struct err err;
    json_array_foreach (list, i, v) {
        if (count == LIST_MAX || address_parse(json_string_value(v), &to[count++], &err)) {
            fprintf(stderr, "%s\n", err.text);
            exit(1);
        }
    }
    return count;
}

static long long number(json_t *spec, const char *name, long long otherwise)
{
    json_t *v = json_object_get(spec, name);
    return v ? json_integer_value(v) : otherwise;
}

static const char *text(json_t *spec, const char *name)
{
    const char *v = json_string_value(json_object_get(spec, name));
    return v ? v : "";
}

/* ---- networks ---- */

static void add_gateway(struct bridge_spec *bridge, const char *cidr)
{
    struct bridge_gateway *g = &bridge->gateways[bridge->gateway_count++];
    char address[SUBNET_TEXT_MAX];
    struct err err;
    snprintf(address, sizeof address, "%s", cidr);
    char *slash = strchr(address, '/');
    if (!slash || (*slash = 0, address_parse(address, &g->address, &err))) {
        fprintf(stderr, "gateway %s\n", cidr);
        exit(1);
    }
    g->prefix = (unsigned)atoi(slash + 1);
}

static int ensure(json_t *spec, struct err *err)
{
    struct address peers[LIST_MAX];
    struct network_spec n = {.bridge = {.id = text(spec, "id"), .mtu = (uint32_t)number(spec, "mtu", 1450)}};
    size_t i;
    json_t *v;
    json_array_foreach (json_object_get(spec, "gateways"), i, v) {
        if (i < BRIDGE_GATEWAYS_MAX)
            add_gateway(&n.bridge, json_string_value(v));
    }
    n.vni = (uint32_t)number(spec, "vni", 0);
    n.peers = peers;
    n.peer_count = addresses_of(json_object_get(spec, "peers"), peers);
    if (n.vni && address_parse(text(spec, "local"), &n.local, err))
        return -EINVAL;
    return network_ensure(&n, err);
}

/* ---- cards ---- */

static int card(json_t *spec, int (*act)(const struct network_card *card, struct err *err), struct err *err)
{
    struct address addresses[LIST_MAX];
    struct network_card c = {
        .guest = text(spec, "guest"),
        .index = (unsigned)number(spec, "index", 0),
        .network = text(spec, "network"),
        .addresses = addresses,
        .unguarded = json_is_true(json_object_get(spec, "unguarded")),
        .rates = {.to_guest = (uint64_t)number(spec, "to_guest", 0),
                  .from_guest = (uint64_t)number(spec, "from_guest", 0)},
        .queues = (unsigned)number(spec, "queues", 1),
        .owner = (uid_t)number(spec, "owner", -1),
        .mtu = (uint32_t)number(spec, "mtu", 1450),
    };
    c.address_count = addresses_of(json_object_get(spec, "addresses"), addresses);
    int rc = mac_parse(text(spec, "mac"), &c.mac, err);
    return rc ? rc : act(&c, err);
}

static int traffic(const char *guest, unsigned index, struct err *err)
{
    struct network_traffic t;
    int rc = network_traffic(guest, index, &t, err);
    if (!rc)
        printf("{\"spoofed\":%llu,\"to_guest\":%llu,\"to_guest_dropped\":%llu,\"from_guest_dropped\":%llu,"
               "\"from_guest_dropped_bytes\":%llu}\n",
               (unsigned long long)t.spoofed_frames, (unsigned long long)t.to_guest.to_guest,
               (unsigned long long)t.to_guest.to_guest_dropped_frames, (unsigned long long)t.limited_frames,
               (unsigned long long)t.limited_bytes);
    return rc;
}

/* ---- leftovers ---- */

static bool named(enum link_role role, const char *id, unsigned index, void *context)
{
    (void)role;
    (void)index;
    for (char **keep = context; *keep; keep++)
        if (strcmp(*keep, id) == 0)
            return true;
    return false;
}

static int sweep(char **keep, struct err *err)
{
    unsigned removed = 0;
    int rc = network_sweep(named, keep, &removed, err);
    printf("%u\n", removed);
    return rc;
}

/* ---- a guest ---- */

static int open_tap(const char *name)
{
    struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 ||
        ioctl(fd, TUNSETOFFLOAD, (unsigned long)(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)) < 0) {
        fprintf(stderr, "%s: %s\n", name, strerror(errno));
        exit(1);
    }
    return fd;
}

/* A frame that the other side does not take (it is down) is lost, as on any cable. */
static int carry(int from, int to)
{
    static char frame[FRAME_MAX];
    ssize_t n = read(from, frame, sizeof frame);
    if (n < 0)
        return -errno;
    (void)!write(to, frame, (size_t)n);
    return 0;
}

static int cable(const char *tap, const char *namespace, struct err *err)
{
    int here = open_tap(tap);
    int ns = open(namespace, O_RDONLY | O_CLOEXEC);
    if (ns < 0 || setns(ns, CLONE_NEWNET))
        return err_set(err, errno, "%s: %s", namespace, strerror(errno));
    struct pollfd ends[2] = {{.fd = here, .events = POLLIN}, {.fd = open_tap("eth0"), .events = POLLIN}};
    printf("plugged\n");
    fflush(stdout);
    for (;;) {
        if (poll(ends, 2, -1) < 0)
            return err_set(err, errno, "poll: %s", strerror(errno));
        for (int i = 0; i < 2; i++)
            if (ends[i].revents && carry(ends[i].fd, ends[!i].fd))
                return err_set(err, EIO, "%s: unplugged", i ? "eth0" : tap);
    }
}

/* ---- commands ---- */

static int with_json(const char *verb, const char *text_of_spec, struct err *err)
{
    json_error_t where;
    json_t *spec = json_loads(text_of_spec, 0, &where);
    int rc = -EINVAL;
    if (!spec)
        return err_set(err, EINVAL, "%s", where.text);
    if (strcmp(verb, "ensure") == 0)
        rc = ensure(spec, err);
    else if (strcmp(verb, "plug") == 0)
        rc = card(spec, network_plug, err);
    else if (strcmp(verb, "announce") == 0)
        rc = card(spec, network_announce, err);
    else
        err_set(err, EINVAL, "no such verb: %s", verb);
    json_decref(spec);
    return rc;
}

static int print_names(const char *id, const char *index)
{
    char name[LINK_NAME_MAX];
    if (index)
        printf("%s\n", tap_name(id, (unsigned)atoi(index), name));
    else {
        printf("%s ", link_name(LINK_BRIDGE, id, 0, name));
        printf("%s\n", link_name(LINK_VXLAN, id, 0, name));
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct err err = {.code = 0};
    const char *verb = argc > 1 ? argv[1] : "";
    if (strcmp(verb, "sweep") == 0)
        return finish(sweep(argv + 2, &err), &err);
    if (argc < 3)
        return finish(err_set(&err, EINVAL, "say what to do, and with what"), &err);
    if (strcmp(verb, "remove") == 0)
        return finish(network_remove(argv[2], &err), &err);
    if (strcmp(verb, "name") == 0)
        return finish(print_names(argv[2], argv[3]), &err);
    if (strcmp(verb, "unplug") == 0)
        return finish(argc > 3 ? network_unplug(argv[2], (unsigned)atoi(argv[3]), &err)
                               : network_unplug_all(argv[2], &err),
                      &err);
    if (strcmp(verb, "traffic") == 0 && argc > 3)
        return finish(traffic(argv[2], (unsigned)atoi(argv[3]), &err), &err);
    if (strcmp(verb, "cable") == 0 && argc > 3)
        return finish(cable(argv[2], argv[3], &err), &err);
    return finish(with_json(verb, argv[2], &err), &err);
}
