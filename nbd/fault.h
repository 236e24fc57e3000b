/* Driver `fault`: a filter that makes the layer below it fail, wait or tear writes, by a script and
 * a seed, so that what stands above can be proven against disks that misbehave.
 *
 *     [{"driver":"fault", "seed":7, "rules":[
 *          {"op":"read", "offset":"1M", "length":"64K", "error":"EIO"},
 *          {"op":"write", "after":10, "count":1, "torn":4096},
 *          {"op":"any", "probability":0.01, "delay":"10ms"}]},
 *      {"driver":"raw", "file":"disk.img"}]
 *
 * A request is shown to the rules in their order; the first that fires decides what happens to it
 * and the rest do not see it. A rule fires for a request that it matches (op, and a range that
 * overlaps offset..offset+length), once the first `after` matches have passed, if its dice of
 * `probability` say so, at most `count` times. What fires: `delay` (by the loop's timers), then
 * `torn` (a write's first bytes, down to a multiple of align_bytes, reach the layer below and the
 * request fails), then `error`; a delay alone lets the request through afterwards.
 *
 * Dice are thrown by a generator of each rule's own, from seed and rule number: the same requests
 * in the same order meet the same faults. A flush made to fail keeps the promise of blk.h: no later
 * flush or FUA succeeds; but for ENOTCONN, by which nothing is lost. */
#ifndef NBD_FAULT_H
#define NBD_FAULT_H

struct blk_driver;

extern const struct blk_driver fault_driver;

#endif
