/* `drover-img member`: makes, shows and checks members of volumes. Thread: main. */
#ifndef REPLICATION_IMG_COMMAND_MEMBER_H
#define REPLICATION_IMG_COMMAND_MEMBER_H

#include "nbd/img_command.h"

extern const struct img_command img_command_member;

#endif
