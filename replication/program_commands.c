/* The commands of drover-img: those of nbd and ours. */
#include "nbd/program.h"
#include "replication/img_command_member.h"
#include "replication/img_command_volume.h"

const struct img_command *const program_img_commands[] = {
    &img_command_create, &img_command_info, &img_command_map,    &img_command_copy,   &img_command_compare,
    &img_command_resize, &img_command_luks, &img_command_member, &img_command_volume, NULL};
