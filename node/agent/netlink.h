/* Requests to the kernel's networking (rtnetlink, nfnetlink), one at a time: sent, and answered before the call
 * returns.
 *
 * A request is filled in place, bounded: one that does not fit is never sent and says so. An error holds what was
 * asked, on which device, and the kernel's own reason where it gives one.
 *
 * The socket belongs to the network namespace that its maker was in. Threads: one at a time, which may block.
 * Source: Documentation/userspace-api/netlink/intro.rst of Linux. */
#ifndef NODE_AGENT_NETLINK_H
#define NODE_AGENT_NETLINK_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct netlink;

/* protocol: NETLINK_ROUTE or NETLINK_NETFILTER. Errors: -errno. *netlink is the caller's: netlink_close(), which takes
 * NULL. */
int netlink_open(struct netlink **netlink, int protocol, struct err *err);
void netlink_close(struct netlink *netlink);

enum { NETLINK_REQUEST_MAX = 4096 };

struct netlink_request {
    union {
        struct nlmsghdr header;
        uint8_t room[NETLINK_REQUEST_MAX];
    };
    bool full; /* something did not fit */
};

/* type: RTM_...; flags: NLM_F_... beside REQUEST and ACK; header: the fixed one of that type. */
void netlink_begin(struct netlink_request *request, int type, int flags, const void *header, size_t len_bytes);
void netlink_put(struct netlink_request *request, int attribute, const void *data, size_t len_bytes);
void netlink_put_u8(struct netlink_request *request, int attribute, uint8_t value);
void netlink_put_u32(struct netlink_request *request, int attribute, uint32_t value);
void netlink_put_text(struct netlink_request *request, int attribute, const char *text);
/* What is put until netlink_nest_end() is inside the attribute. Returns where it began. */
size_t netlink_nest(struct netlink_request *request, int attribute);
void netlink_nest_end(struct netlink_request *request, size_t nest);

/* Sends a change and waits for the kernel's word. The text of an error is "WHAT: reason"; WHAT names the device and the
 * act, as in "bridge drb0123456789ab: cannot be made". Errors: -errno as the kernel says it. */
__attribute__((format(printf, 4, 5))) int netlink_do(struct netlink *netlink, struct netlink_request *request,
                                                     struct err *err, const char *what, ...);

/* Asks, and hands every message of the answer to `each`. Errors as above. */
__attribute__((format(printf, 6, 7))) int netlink_ask(struct netlink *netlink, struct netlink_request *request,
                                                      void (*each)(struct nlmsghdr *message, void *context),
                                                      void *context, struct err *err, const char *what, ...);

/* The same for a list (NLM_F_DUMP is put in here). A change that comes between spoils it, and it is asked for again, a
 * few times: start() runs before each time, and forgets what `each` was handed. -EAGAIN: it was spoilt every time. */
__attribute__((format(printf, 7, 8))) int netlink_list(struct netlink *netlink, struct netlink_request *request,
                                                       void (*start)(void *context),
                                                       void (*each)(struct nlmsghdr *message, void *context),
                                                       void *context, struct err *err, const char *what, ...);

#endif
