/* droverd as a whole: what it is made of, in which order it begins and ends.
 *
 *     OPENING --the mirror is whole--> RUNNING --SIGTERM, SIGINT--> LEAVING --nothing in flight--> gone
 *
 * Guests, and servers of volumes, run on when the agent ends, for whatever reason; the next one adopts them.
 * Thread: the main one, which is the loop's. */
#ifndef NODE_AGENT_AGENT_H
#define NODE_AGENT_AGENT_H

struct err;

struct agent_config {
    const char *state;    /* what must survive a reboot: /var/lib/drover */
    const char *run;      /* sockets and logs: /run/drover */
    const char *programs; /* folder of drover-guest, drover-nbd, drover-img, drover-import, drover-power ... */
    const char *power;    /* how one learns whether a node has power: power_file.h */
    const char *cgroups;  /* where the kernel's control groups are mounted: /sys/fs/cgroup */
    const char *version;
};

/* Until a signal ends it. Errors: -errno with a text. */
int agent_run(const struct agent_config *config, struct err *err);

#endif
