/* The list of this folder's drivers. */
#include "nbd/align.h"
#include "nbd/blk_driver.h"
#include "nbd/fault.h"
#include "nbd/fence.h"
#include "nbd/luks.h"
#include "nbd/mem.h"
#include "nbd/move.h"
#include "nbd/nbd_client.h"
#include "nbd/raw.h"
#include "nbd/throttle.h"

void blk_drivers_register(void)
{
    blk_driver_register(&raw_driver);
    blk_driver_register(&mem_driver);
    blk_driver_register(&fault_driver);
    blk_driver_register(&throttle_driver);
    blk_driver_register(&align_driver);
    blk_driver_register(&fence_driver);
    blk_driver_register(&luks_driver);
    blk_driver_register(&nbd_driver);
    blk_driver_register(&move_driver);
}
