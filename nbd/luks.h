/* Driver `luks`: a filter that shows the data of a LUKS1 or LUKS2 volume which lies in the layer below.
 *
 *     [{"driver":"luks", "key":{"file":"disk.key"}}, {"driver":"raw", "file":"disk.img"}]
 *
 * key: {"file": PATH} or {"fd": N}, which is read once and closed. It is the passphrase of a keyslot, or with "master":
 * true the volume key itself. keyslot: try only this one. discard (default true): trims pass; a trimmed range reads as
 * noise. Only aes-xts-plain64 is known; what else a header may ask for is refused by name.
 *
 * Opening writes nothing, and nothing is read of the header once a volume is open: its keys can be changed meanwhile
 * (luks_change.h). Zeroes are written as encrypted ones, because a hole below would read as noise; what is new after a
 * growth, likewise. A hole below is reported as a hole, but never as zeroes. */
#ifndef NBD_LUKS_H
#define NBD_LUKS_H

struct blk_driver;

extern const struct blk_driver luks_driver;

#endif
