/* A tap interface of the host, as the files that a virtio-net device serves: one per queue pair. Before the seal.
 * Threads: the main one. Source: Documentation/networking/tuntap.rst of Linux. */
#ifndef HV_TAP_H
#define HV_TAP_H

struct err;

/* Opens `queues` files of the tap `name`, which exists or is made (with CAP_NET_ADMIN). Fills fds; the caller closes
 * them. More than one queue needs a tap that was made with multi_queue. Errors: -errno with a text that says what to
 * do; nothing is left open then. */
int tap_open(const char *name, unsigned queues, int *fds, struct err *err);

#endif
