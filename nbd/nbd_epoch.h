/* Fenced exports (fence.h): which epoch a client comes with, and what that does to those who came before.
 *
 *     NAME@EPOCH   older than the export's   refused
 *                  the export's              let in, beside others of the same epoch
 *                  newer                     recorded on stable storage; then every older connection is ended, and the
 *                                            newcomer's requests wait until theirs have left the stack
 *     NAME         refused: who does not say an epoch cannot be told from an owner of the past
 *
 * Thread: the loop's. */
#ifndef NBD_NBD_EPOCH_H
#define NBD_NBD_EPOCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nbd_conn;
struct nbd_export;

/* "vol1@17": 17, and *len becomes that of "vol1". 0: no epoch in it, *len as it was. */
uint64_t nbd_epoch_split(const uint8_t *name, size_t *len);

/* 0, or the option error and why a client with that epoch (0: none) may not have the export. */
uint32_t nbd_epoch_denied(const struct nbd_export *export, uint64_t epoch, const char **why);

/* True: the epoch is newer and on its way to the disk. The option is looked at again when it is there, or not:
 * conn->raise_result says then why not. */
bool nbd_epoch_raise(struct nbd_conn *conn, struct nbd_export *export, uint64_t epoch);

#endif
