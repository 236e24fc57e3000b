/* See shaping.h. */
#include "node/agent/shaping.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/gen_stats.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/link.h"
#include "node/agent/netlink.h"
#include "node/agent/ruleset.h"
#include "node/base/err.h"

enum { BURST_MIN = 128 << 10, BURST_MAX = 64 << 20, BURSTS_PER_SECOND = 10, QUEUES_PER_SECOND = 20 };
enum { HANDLE = 1 << 16 };

static uint64_t burst_of(uint64_t rate)
{
    uint64_t burst = rate / BURSTS_PER_SECOND;
    return burst < BURST_MIN ? BURST_MIN : burst > BURST_MAX ? BURST_MAX : burst;
}

/* ---- to the guest ---- */

struct queue {
    uint32_t index;
    bool there; /* a token bucket at the root, of ours */
    uint64_t rate, dropped_frames;
};

static void read_parameters(struct nlattr *options, struct queue *q)
{
    struct nlattr *a[TCA_TBF_MAX + 1];
    if (!options || nla_parse_nested(a, TCA_TBF_MAX, options, NULL) < 0 || !a[TCA_TBF_PARMS] ||
        nla_len(a[TCA_TBF_PARMS]) < (int)sizeof(struct tc_tbf_qopt))
        return;
    struct tc_tbf_qopt parameters;
    memcpy(&parameters, nla_data(a[TCA_TBF_PARMS]), sizeof parameters);
    q->there = true;
    q->rate = parameters.rate.rate;
    if (a[TCA_TBF_RATE64] && nla_len(a[TCA_TBF_RATE64]) >= 8)
        q->rate = nla_get_u64(a[TCA_TBF_RATE64]);
}

static void start(void *context)
{
    struct queue *q = context;
    *q = (struct queue){.index = q->index};
}

static void find_queue(struct nlmsghdr *message, void *context)
{
    struct queue *q = context;
    struct nlattr *a[TCA_MAX + 1], *s[TCA_STATS_MAX + 1];
    if (message->nlmsg_type != RTM_NEWQDISC || nlmsg_parse(message, sizeof(struct tcmsg), a, TCA_MAX, NULL) < 0)
        return;
    const struct tcmsg *header = nlmsg_data(message);
    if ((uint32_t)header->tcm_ifindex != q->index || header->tcm_parent != TC_H_ROOT || header->tcm_handle != HANDLE ||
        !a[TCA_KIND] || nla_strcmp(a[TCA_KIND], "tbf") != 0)
        return;
    read_parameters(a[TCA_OPTIONS], q);
    if (a[TCA_STATS2] && nla_parse_nested(s, TCA_STATS_MAX, a[TCA_STATS2], NULL) == 0 && s[TCA_STATS_QUEUE] &&
        nla_len(s[TCA_STATS_QUEUE]) >= (int)sizeof(struct gnet_stats_queue)) {
        struct gnet_stats_queue counted;
        memcpy(&counted, nla_data(s[TCA_STATS_QUEUE]), sizeof counted);
        q->dropped_frames = counted.drops;
    }
}

static int read_queue(struct netlink *netlink, const char *tap, struct queue *q, struct err *err)
{
    struct link l;
    int rc = link_find(netlink, tap, &l, err);
    if (rc == 0)
        return err_set(err, ENODEV, "tap %s: is not there", tap);
    if (rc < 0)
        return rc;
    struct tcmsg header = {.tcm_family = AF_UNSPEC, .tcm_ifindex = (int)l.index};
    struct netlink_request request;
    q->index = l.index;
    netlink_begin(&request, RTM_GETQDISC, 0, &header, sizeof header);
    return netlink_list(netlink, &request, start, find_queue, q, err, "tap %s: its queue cannot be read", tap);
}

static int remove_queue(struct netlink *netlink, const char *tap, const struct queue *q, struct err *err)
{
    struct tcmsg header = {.tcm_family = AF_UNSPEC, .tcm_ifindex = (int)q->index, .tcm_parent = TC_H_ROOT};
    struct netlink_request request;
    netlink_begin(&request, RTM_DELQDISC, 0, &header, sizeof header);
    return netlink_do(netlink, &request, err, "tap %s: the limit towards the guest cannot be taken off", tap);
}

static int set_queue(struct netlink *netlink, const char *tap, const struct queue *q, uint64_t rate, struct err *err)
{
    uint32_t burst = (uint32_t)burst_of(rate);
    uint64_t waiting = rate / QUEUES_PER_SECOND + burst;
    struct tc_tbf_qopt parameters = {
        .rate = {.linklayer = TC_LINKLAYER_ETHERNET, .rate = rate > UINT32_MAX ? UINT32_MAX : (uint32_t)rate},
        .limit = waiting > UINT32_MAX ? UINT32_MAX : (uint32_t)waiting,
    };
    struct tcmsg header = {
        .tcm_family = AF_UNSPEC, .tcm_ifindex = (int)q->index, .tcm_handle = HANDLE, .tcm_parent = TC_H_ROOT};
    struct netlink_request request;
    netlink_begin(&request, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, &header, sizeof header);
    netlink_put_text(&request, TCA_KIND, "tbf");
    size_t options = netlink_nest(&request, TCA_OPTIONS);
    netlink_put(&request, TCA_TBF_PARMS, &parameters, sizeof parameters);
    netlink_put_u32(&request, TCA_TBF_BURST, burst);
    if (rate > UINT32_MAX)
        netlink_put(&request, TCA_TBF_RATE64, &rate, sizeof rate);
    netlink_nest_end(&request, options);
    return netlink_do(netlink, &request, err, "tap %s: the limit of %" PRIu64 " bytes a second cannot be set", tap,
                      rate);
}

static int ensure_queue(struct netlink *netlink, const char *tap, uint64_t rate, struct err *err)
{
    struct queue q;
    int rc = read_queue(netlink, tap, &q, err);
    if (rc || (q.there ? q.rate == rate : rate == 0))
        return rc;
    return rate ? set_queue(netlink, tap, &q, rate, err) : remove_queue(netlink, tap, &q, err);
}

/* ---- both ---- */

static int check(const char *tap, const char *way, uint64_t rate, struct err *err)
{
    if (rate && (rate < SHAPING_RATE_MIN || rate > SHAPING_RATE_MAX))
        return err_set(err, ERANGE,
                       "tap %s: the limit %s must be %" PRIu64 " to %" PRIu64 " bytes a second, or none, not %" PRIu64,
                       tap, way, SHAPING_RATE_MIN, SHAPING_RATE_MAX, rate);
    return 0;
}

int shaping_add(const char *tap, const struct shaping_rates *rates, struct ruleset *rules, struct err *err)
{
    uint64_t rate = rates->from_guest;
    int rc = check(tap, "from the guest", rate, err);
    if (!rc && rate)
        ruleset_add(rules,
                    "counter limited {\n}\nchain police {\n"
                    "type filter hook ingress device \"%s\" priority 0; policy accept;\n"
                    "limit rate over %" PRIu64 " bytes/second burst %" PRIu64 " bytes counter name limited drop\n}\n",
                    tap, rate, burst_of(rate));
    return rc;
}

int shaping_ensure(struct netlink *netlink, const char *tap, const struct shaping_rates *rates, struct err *err)
{
    int rc = check(tap, "towards the guest", rates->to_guest, err);
    return rc ? rc : ensure_queue(netlink, tap, rates->to_guest, err);
}

int shaping_read(struct netlink *netlink, const char *tap, struct shaping_state *state, struct err *err)
{
    struct queue q;
    int rc = read_queue(netlink, tap, &q, err);
    if (!rc)
        *state = (struct shaping_state){.to_guest = q.there ? q.rate : 0, .to_guest_dropped_frames = q.dropped_frames};
    return rc;
}
