/* `drover-img volume`: looks after a volume that nobody uses at the moment. Thread: main. */
#ifndef REPLICATION_IMG_COMMAND_VOLUME_H
#define REPLICATION_IMG_COMMAND_VOLUME_H

#include "nbd/img_command.h"

extern const struct img_command img_command_volume;

#endif
