/* Driver `raw`: a regular file or a block device, byte for byte.
 *
 * Buffered or O_DIRECT. Reads and writes go through io_uring where the file system can serve them without waiting;
 * where it cannot (buffered writes on ext4, everything on tmpfs) they go to the worker threads, in batches, which costs
 * less than io_uring's own. Flushes are grouped: while one fdatasync runs, those that arrive share the next one.
 *
 * Sparse files stay sparse: TRIM and ZERO punch holes, extents come from SEEK_DATA and SEEK_HOLE. */
#ifndef NBD_RAW_H
#define NBD_RAW_H

struct blk_driver;

extern const struct blk_driver raw_driver;

#endif
