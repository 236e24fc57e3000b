/* `drover-img luks`: the header of a LUKS volume and its keys. Each command has a file of its own, img_luks_NAME.c. */
#include "nbd/img_command.h"
#include "nbd/img_luks.h"

static const struct img_command *const commands[] = {
    &img_luks_create,     &img_luks_info,       &img_luks_check, &img_luks_add_key,
    &img_luks_change_key, &img_luks_remove_key, &img_luks_erase, NULL};

const struct img_command img_command_luks = {
    .name = "luks", .help = "makes, shows, checks LUKS headers and changes their keys", .below = commands};
