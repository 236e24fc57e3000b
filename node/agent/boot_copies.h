/* Kernels and RAM disks that guests of this node boot from, while other nodes hold the images: each is copied once into
 * STATE/boot/ID, from where its node serves it, and removed when no guest of this node boots from it any more.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_BOOT_COPIES_H
#define NODE_AGENT_BOOT_COPIES_H

struct boot_copies;
struct cluster;
struct err;
struct loop;

struct boot_copies_place {
    struct loop *loop;
    const char *img;   /* drover-img, an absolute path */
    const char *state; /* the node's folder */
    const char *tls;   /* folder of certificates; NULL: in clear */
};

/* changed(): a copy is whole, or its reason has changed; from the loop. */
struct boot_copies *boot_copies_new(struct cluster *cluster, const struct boot_copies_place *place,
                                    void (*changed)(void *context), void *context, struct err *err);
/* Copies that are being made are given up. */
void boot_copies_free(struct boot_copies *copies);

/* NULL: it is not whole yet. copies may be NULL: there are none. */
const char *boot_copies_path(const struct boot_copies *copies, const char *image_id);
/* Why not, or "". */
const char *boot_copies_reason(const struct boot_copies *copies, const char *image_id);

#endif
