/* Driver `throttle`: a filter that holds its stack to so many operations and so many bytes a
 * second.
 *
 *     [{"driver":"throttle", "iops":500, "bps":"50M"}, {"driver":"raw", "file":"disk.img"}]
 *
 * Two token buckets, filled at the rate and at most up to the burst (iops-burst, bps-burst; default
 * a tenth of a second's worth, at least one operation). READ, WRITE, ZERO and TRIM cost one
 * operation and their length; ZERO and TRIM move no data and so cost at most one full bucket of
 * bytes, or a discarded disk would stand still for hours. All else is free.
 *
 * A request goes when both buckets hold what it costs. One that costs more than a bucket can hold
 * goes when the bucket is full and leaves it in debt, so the rate holds in the long run and nothing
 * waits for ever. Requests leave in the order they came, free ones too; a flush covers what had
 * completed before it, as ever. A timer is set only while something waits. */
#ifndef NBD_THROTTLE_H
#define NBD_THROTTLE_H

struct blk_driver;

extern const struct blk_driver throttle_driver;

#endif
