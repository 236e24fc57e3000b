/* What drover-img volume tend gives up. A stack whose members are all behind NBD servers with numeric addresses, as an
 * agent writes it, is opened in the jail, so nothing that others wrote is read with privileges. One with files, names
 * or unix sockets is opened first, as drover-nbd does. Thread: the main one. */
#ifndef REPLICATION_TEND_JAIL_H
#define REPLICATION_TEND_JAIL_H

#include <stdbool.h>
#include <stdint.h>

struct err;

/* The stack (blk.h) needs no file and no name, but for TLS credentials and descriptors: it may be opened in the jail.
 */
bool tend_jail_may_open(const char *stack);
/* Before tend_jail_enter(): TLS credentials are read. */
int tend_jail_keep(const char *stack, struct err *err);
/* needs: blk_needs() of what is opened, or will be. */
int tend_jail_enter(uint32_t needs, struct err *err);

#endif
