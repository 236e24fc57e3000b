/* Where an image is, as people write it on the command line:
 *
 *     disk.img  ./odd:name.img  /dev/sdb     a path: raw
 *     nbd://host/export  nbds+unix://...     a URI: the NBD client, by up to 4 connections
 *     raw:disk.img  mem:1G                   DRIVER:VALUE, if there is such a driver
 *     [{"driver":...}, ...]  {...}  @file    a stack (blk.h)
 *
 * A name with a colon whose first part is no driver is a path if it exists or has a slash before
 * the colon. Thread: any. */
#ifndef NBD_IMG_LOCATION_H
#define NBD_IMG_LOCATION_H

struct err;

struct img_location {
    const char *text; /* as given; belongs to the caller */
    char *stack;      /* for blk_open() */
    const char *path; /* of a raw file or device, or NULL; inside text */
};

/* Errors: -EINVAL no location; -ENOMEM. */
int img_location_parse(const char *text, struct img_location *location, struct err *err);
void img_location_fini(struct img_location *location);

#endif
