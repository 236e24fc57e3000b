/* One layer of a stack, as blk.c and blk_stack.c share it. Nobody else includes this. */
#ifndef NBD_BLK_NODE_H
#define NBD_BLK_NODE_H

#include "nbd/blk_driver.h"

struct blk {
    const struct blk_driver *driver;
    struct blk *below; /* owned: one parent per layer */
    struct blk_env env;
    void *state;
    uint64_t size_bytes;
    struct blk_limits limits;
    uint32_t can, needs;
    bool read_only, patient;
    unsigned in_flight;
    struct blk_req_list children; /* idle ones */
    void (*drained)(void *context);
    void *drain_context;
    struct loop_job drain_job;
    struct blk_op_stats stats[BLK_OP_COUNT];
};

#endif
