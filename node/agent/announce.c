/* See announce.h. */
#include "node/agent/announce.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/agent/netlink.h"
#include "node/base/emit.h"
#include "node/base/err.h"

enum { FRAME_MIN = 60, ARP_REQUEST = 1, RARP_REQUEST = 3, NEIGHBOUR_ADVERTISEMENT = 136, OVERRIDE = 1 << 29 };

/* An empty frame of zeroes, behind its head. */
static struct emit begin(uint8_t *frame, const uint8_t destination[MAC_BYTES], const struct mac *source, uint16_t type)
{
    struct emit e = emit_to(frame, ANNOUNCE_FRAME_MAX);
    memset(frame, 0, ANNOUNCE_FRAME_MAX);
    emit_bytes(&e, destination, MAC_BYTES);
    emit_bytes(&e, source->bytes, MAC_BYTES);
    emit_u16(&e, type);
    return e;
}

/* sender and target are IPv4, four octets; NULL is 0.0.0.0. */
static size_t arp(uint8_t *frame, const struct mac *mac, uint16_t type, uint16_t operation, const uint8_t *sender,
                  const struct mac *target_mac)
{
    static const uint8_t everybody[MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, nothing[4];
    static const struct mac no_mac;
    struct emit e = begin(frame, everybody, mac, type);
    emit_u16(&e, 1);
    emit_u16(&e, ETH_P_IP);
    emit_u16(&e, MAC_BYTES << 8 | 4);
    emit_u16(&e, operation);
    emit_bytes(&e, mac->bytes, MAC_BYTES);
    emit_bytes(&e, sender ? sender : nothing, 4);
    emit_bytes(&e, target_mac ? target_mac->bytes : no_mac.bytes, MAC_BYTES);
    emit_bytes(&e, sender ? sender : nothing, 4);
    return FRAME_MIN;
}

size_t announce_rarp(const struct mac *mac, uint8_t frame[ANNOUNCE_FRAME_MAX])
{
    return arp(frame, mac, ETH_P_RARP, RARP_REQUEST, NULL, mac);
}

static unsigned sum_of(const uint8_t *data, size_t len_bytes, unsigned sum)
{
    for (size_t i = 0; i + 1 < len_bytes; i += 2)
        sum += (unsigned)data[i] << 8 | data[i + 1];
    return sum;
}

static size_t advertisement(uint8_t *frame, const struct mac *mac, const uint8_t address[16])
{
    static const uint8_t all_nodes_mac[MAC_BYTES] = {0x33, 0x33, 0, 0, 0, 1};
    static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1}, version[4] = {0x60};
    enum { BODY = 32, HOP_LIMIT = 255, TARGET_MAC = 2 /* an option, in units of eight octets */ };
    struct emit e = begin(frame, all_nodes_mac, mac, ETH_P_IPV6);
    emit_bytes(&e, version, 4);
    emit_u16(&e, BODY);
    emit_u16(&e, IPPROTO_ICMPV6 << 8 | HOP_LIMIT);
    const uint8_t *addresses = e.at;
    emit_bytes(&e, address, 16);
    emit_bytes(&e, all_nodes, 16);
    const uint8_t *body = e.at;
    emit_u16(&e, NEIGHBOUR_ADVERTISEMENT << 8);
    struct emit checksum = e;
    emit_u16(&e, 0);
    emit_u32(&e, OVERRIDE);
    emit_bytes(&e, address, 16);
    emit_u16(&e, TARGET_MAC << 8 | 1);
    emit_bytes(&e, mac->bytes, MAC_BYTES);
    unsigned sum = sum_of(body, BODY, sum_of(addresses, 32, BODY + IPPROTO_ICMPV6));
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    emit_u16(&checksum, (uint16_t)~sum);
    return emit_len(&e);
}

size_t announce_address(const struct mac *mac, const struct address *address, uint8_t frame[ANNOUNCE_FRAME_MAX])
{
    if (address->family == AF_INET6)
        return advertisement(frame, mac, address->bytes);
    return arp(frame, mac, ETH_P_ARP, ARP_REQUEST, address->bytes, NULL);
}

/* ---- sending ---- */

static int teach(struct netlink *netlink, uint32_t tap, const struct mac *mac, struct err *err)
{
    char text[MAC_TEXT_MAX];
    struct ndmsg header = {
        .ndm_family = AF_BRIDGE, .ndm_ifindex = (int)tap, .ndm_state = NUD_REACHABLE, .ndm_flags = NTF_MASTER};
    struct netlink_request request;
    netlink_begin(&request, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &header, sizeof header);
    netlink_put(&request, NDA_LLADDR, mac->bytes, MAC_BYTES);
    int rc = netlink_do(netlink, &request, err, "device %u: its bridge cannot be told that %s is there", tap,
                        mac_format(mac, text));
    return rc == -EPERM ? 0 : rc; /* the kernel's word for a port that does not forward yet: nobody has the tap open */
}

static int send_frame(int fd, uint32_t bridge, const uint8_t *frame, size_t len_bytes, struct err *err)
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)bridge, .sll_halen = MAC_BYTES};
    memcpy(to.sll_addr, frame, MAC_BYTES);
    if (sendto(fd, frame, len_bytes, 0, (struct sockaddr *)&to, sizeof to) < 0)
        return err_set(err, errno, "bridge %u: a guest cannot be announced: %s", bridge, strerror(errno));
    return 0;
}

int announce_send(struct netlink *netlink, uint32_t bridge, uint32_t tap, const struct mac *mac,
                  const struct address *addresses, unsigned count, struct err *err)
{
    uint8_t frame[ANNOUNCE_FRAME_MAX];
    int rc = teach(netlink, tap, mac, err);
    if (rc)
        return rc;
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, errno, "bridge %u: no socket to announce a guest with: %s", bridge, strerror(errno));
    rc = send_frame(fd, bridge, frame, announce_rarp(mac, frame), err);
    for (unsigned i = 0; !rc && i < count; i++)
        rc = send_frame(fd, bridge, frame, announce_address(mac, &addresses[i], frame), err);
    close(fd);
    return rc;
}
