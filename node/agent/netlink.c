/* See netlink.h. The socket, the sending and the parsing are libnl's. */
#include "node/agent/netlink.h"

#include <errno.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/handlers.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "node/base/err.h"

enum { WHAT_MAX = 160, REASON_MAX = 160, ANSWER_SECONDS = 10, MESSAGE_BYTES = 32 << 10, LIST_TRIES = 8 };
enum { HEADER_BYTES = sizeof(struct nlmsghdr), ATTRIBUTE_BYTES = sizeof(struct nlattr) };

struct netlink {
    struct nl_sock *socket;
    struct nl_cb *callbacks;
    int protocol;
    /* of the exchange that goes on */
    bool done;
    int code; /* errno, 0 = well */
    char reason[REASON_MAX];
    void (*each)(struct nlmsghdr *message, void *context);
    void *context;
};

/* Attributes and messages start at multiples of four. */
static size_t aligned(size_t n)
{
    return (n + 3) & ~(size_t)3;
}

/* ---- what the kernel answers ---- */

static int on_message(struct nl_msg *msg, void *context)
{
    struct netlink *n = context;
    if (n->each)
        n->each(nlmsg_hdr(msg), n->context);
    return NL_OK;
}

static int on_ack(struct nl_msg *msg, void *context)
{
    struct netlink *n = context;
    (void)msg;
    n->done = true;
    return NL_STOP;
}

/* The end of a dump carries an error number of its own. */
static int on_finish(struct nl_msg *msg, void *context)
{
    struct netlink *n = context;
    const struct nlmsghdr *h = nlmsg_hdr(msg);
    int32_t code = 0;
    if (h->nlmsg_len >= HEADER_BYTES + sizeof code)
        memcpy(&code, nlmsg_data(h), sizeof code);
    n->done = true;
    n->code = code < 0 ? -code : 0;
    return NL_STOP;
}

/* After the error come the request, unless the answer is capped, and then the kernel's text. */
static int on_error(struct sockaddr_nl *from, struct nlmsgerr *error, void *context)
{
    struct netlink *n = context;
    struct nlmsghdr *h = (struct nlmsghdr *)(void *)((uint8_t *)error - HEADER_BYTES);
    struct nlattr *table[NLMSGERR_ATTR_MAX + 1] = {NULL};
    size_t before = aligned(sizeof *error), body = h->nlmsg_len - HEADER_BYTES;
    (void)from;
    n->done = true;
    n->code = -error->error;
    if (!(h->nlmsg_flags & NLM_F_CAPPED))
        before += aligned(error->msg.nlmsg_len - HEADER_BYTES);
    if (h->nlmsg_flags & NLM_F_ACK_TLVS && before < body &&
        nla_parse(table, NLMSGERR_ATTR_MAX, (struct nlattr *)(void *)((uint8_t *)error + before), (int)(body - before),
                  NULL) == 0 &&
        table[NLMSGERR_ATTR_MSG])
        nla_strlcpy(n->reason, table[NLMSGERR_ATTR_MSG], sizeof n->reason);
    return NL_STOP;
}

/* ---- the socket ---- */

static int prepare(struct netlink *n, struct err *err)
{
    int on = 1;
    struct timeval patience = {.tv_sec = ANSWER_SECONDS};
    int rc = nl_connect(n->socket, n->protocol);
    if (rc < 0)
        return err_set(err, EIO, "netlink: cannot open a socket: %s", nl_geterror(rc));
    int fd = nl_socket_get_fd(n->socket);
    /* Old kernels know neither; all the same they answer. */
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience))
        return err_set(err, errno, "netlink: cannot bound the waiting: %s", strerror(errno));
    nl_socket_set_msg_buf_size(n->socket, MESSAGE_BYTES);
    nl_cb_set(n->callbacks, NL_CB_VALID, NL_CB_CUSTOM, on_message, n);
    nl_cb_set(n->callbacks, NL_CB_ACK, NL_CB_CUSTOM, on_ack, n);
    nl_cb_set(n->callbacks, NL_CB_FINISH, NL_CB_CUSTOM, on_finish, n);
    nl_cb_err(n->callbacks, NL_CB_CUSTOM, on_error, n);
    return 0;
}

int netlink_open(struct netlink **netlink, int protocol, struct err *err)
{
    struct netlink *n = calloc(1, sizeof *n);
    if (!n)
        return err_set(err, ENOMEM, "netlink: no memory");
    n->protocol = protocol;
    n->socket = nl_socket_alloc();
    n->callbacks = nl_cb_alloc(NL_CB_DEFAULT);
    int rc = n->socket && n->callbacks ? prepare(n, err) : err_set(err, ENOMEM, "netlink: no memory");
    if (rc) {
        netlink_close(n);
        return rc;
    }
    *netlink = n;
    return 0;
}

void netlink_close(struct netlink *netlink)
{
    if (!netlink)
        return;
    if (netlink->socket)
        nl_socket_free(netlink->socket);
    if (netlink->callbacks)
        nl_cb_put(netlink->callbacks);
    free(netlink);
}

/* ---- requests ---- */

/* Room at the end, aligned and zeroed; NULL when there is none. */
static void *grow(struct netlink_request *request, size_t len_bytes)
{
    size_t at = aligned(request->header.nlmsg_len);
    if (request->full || len_bytes > sizeof request->room - at) {
        request->full = true;
        return NULL;
    }
    request->header.nlmsg_len = (uint32_t)(at + len_bytes);
    return request->room + at;
}

void netlink_begin(struct netlink_request *request, int type, int flags, const void *header, size_t len_bytes)
{
    memset(request, 0, sizeof *request);
    request->header = (struct nlmsghdr){.nlmsg_len = HEADER_BYTES,
                                        .nlmsg_type = (uint16_t)type,
                                        .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags)};
    void *to = grow(request, len_bytes);
    if (to)
        memcpy(to, header, len_bytes);
}

void netlink_put(struct netlink_request *request, int attribute, const void *data, size_t len_bytes)
{
    uint8_t *to = grow(request, ATTRIBUTE_BYTES + len_bytes);
    struct nlattr a = {.nla_len = (uint16_t)(ATTRIBUTE_BYTES + len_bytes), .nla_type = (uint16_t)attribute};
    if (!to)
        return;
    memcpy(to, &a, sizeof a);
    if (len_bytes)
        memcpy(to + ATTRIBUTE_BYTES, data, len_bytes);
}

void netlink_put_u8(struct netlink_request *request, int attribute, uint8_t value)
{
    netlink_put(request, attribute, &value, sizeof value);
}

void netlink_put_u32(struct netlink_request *request, int attribute, uint32_t value)
{
    netlink_put(request, attribute, &value, sizeof value);
}

void netlink_put_text(struct netlink_request *request, int attribute, const char *text)
{
    netlink_put(request, attribute, text, strlen(text) + 1);
}

size_t netlink_nest(struct netlink_request *request, int attribute)
{
    size_t at = aligned(request->header.nlmsg_len);
    netlink_put(request, attribute | NLA_F_NESTED, NULL, 0);
    return at;
}

void netlink_nest_end(struct netlink_request *request, size_t nest)
{
    uint16_t length = (uint16_t)(request->header.nlmsg_len - nest);
    if (!request->full)
        memcpy(request->room + nest + offsetof(struct nlattr, nla_len), &length, sizeof length);
}

/* ---- exchanges ---- */

static int exchange(struct netlink *n, struct netlink_request *request)
{
    n->done = false;
    n->code = 0;
    n->reason[0] = 0;
    if (request->full) {
        snprintf(n->reason, sizeof n->reason, "the request is too long");
        return EMSGSIZE;
    }
    request->header.nlmsg_pid = nl_socket_get_local_port(n->socket);
    request->header.nlmsg_seq = nl_socket_use_seq(n->socket);
    if (nl_sendto(n->socket, request->room, request->header.nlmsg_len) < 0)
        return errno ? errno : EIO;
    while (!n->done) {
        int rc = nl_recvmsgs(n->socket, n->callbacks);
        if (rc == -NLE_DUMP_INTR)
            return EAGAIN;
        if (rc < 0 && !n->done) {
            snprintf(n->reason, sizeof n->reason, "no answer: %s", nl_geterror(rc));
            return EIO;
        }
    }
    return n->code;
}

/* After an exchange that was cut, what is still to come would answer the next question: a fresh socket knows nothing
 * of it. */
static void refresh(struct netlink *n)
{
    nl_close(n->socket);
    (void)prepare(n, NULL);
}

/* 0, or errno as the kernel or we ourselves say it. */
static int ask(struct netlink *n, struct netlink_request *request,
               void (*each)(struct nlmsghdr *message, void *context), void *context)
{
    n->each = each;
    n->context = context;
    int code = exchange(n, request);
    n->each = NULL;
    if (code && !n->done)
        refresh(n);
    return code;
}

__attribute__((format(printf, 4, 0))) static int explain(struct netlink *n, int code, struct err *err, const char *what,
                                                         va_list arguments)
{
    char text[WHAT_MAX];
    if (!code)
        return 0;
    vsnprintf(text, sizeof text, what, arguments);
    if (code == EPERM)
        return err_set(err, code, "%s: not allowed: it needs root or CAP_NET_ADMIN", text);
    if (n->reason[0])
        return err_set(err, code, "%s: %s (%s)", text, strerror(code), n->reason);
    return err_set(err, code, "%s: %s", text, strerror(code));
}

int netlink_do(struct netlink *netlink, struct netlink_request *request, struct err *err, const char *what, ...)
{
    va_list arguments;
    va_start(arguments, what);
    int rc = explain(netlink, ask(netlink, request, NULL, NULL), err, what, arguments);
    va_end(arguments);
    return rc;
}

int netlink_ask(struct netlink *netlink, struct netlink_request *request,
                void (*each)(struct nlmsghdr *message, void *context), void *context, struct err *err, const char *what,
                ...)
{
    va_list arguments;
    va_start(arguments, what);
    int rc = explain(netlink, ask(netlink, request, each, context), err, what, arguments);
    va_end(arguments);
    return rc;
}

int netlink_list(struct netlink *netlink, struct netlink_request *request, void (*start)(void *context),
                 void (*each)(struct nlmsghdr *message, void *context), void *context, struct err *err,
                 const char *what, ...)
{
    va_list arguments;
    int code = EAGAIN;
    request->header.nlmsg_flags |= NLM_F_DUMP;
    request->header.nlmsg_flags &= (uint16_t)~NLM_F_ACK; /* would be left over for the next: a list ends otherwise */
    for (int i = 0; code == EAGAIN && i < LIST_TRIES; i++) {
        start(context);
        code = ask(netlink, request, each, context);
    }
    va_start(arguments, what);
    int rc = explain(netlink, code, err, what, arguments);
    va_end(arguments);
    return rc;
}
