#include "tests/fuzz/fuzz_env.h"

#include <stdlib.h>

#include "nbd/blk_driver.h"
#include "node/base/buffer_pool.h"
#include "node/base/log.h"

const struct blk_env *fuzz_env(void)
{
    static struct blk_env env;
    if (!env.loop) {
        log_init("fuzz", LOG_LEVEL_ERROR);
        blk_drivers_register();
        env.loop = loop_new(NULL);
        env.worker = env.loop ? worker_new(env.loop, 1, NULL) : NULL;
        env.buffers = buffer_pool_new(8 << 20);
        if (!env.worker || !env.buffers)
            abort();
    }
    return &env;
}
