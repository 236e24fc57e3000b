/* The drivers of drover-nbd and drover-img: those of nbd and ours. */
#include "nbd/blk_driver.h"
#include "nbd/program.h"
#include "replication/volume.h"

void program_drivers_register(void)
{
    blk_drivers_register();
    replication_drivers_register();
}
