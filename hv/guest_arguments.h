/* The command line of `drover-guest run`: options become the keys of guest_config.h, over those of --config FILE.
 * Thread: the main one. */
#ifndef HV_GUEST_ARGUMENTS_H
#define HV_GUEST_ARGUMENTS_H

#include "hv/guest_config.h"
#include "node/base/log.h"

struct err;
struct json_t;

/* Prints help or the mistake and exits, as argp does (2 on a mistake); argv[0] is "drover-guest run". */
void guest_arguments_parse(int argc, char **argv, struct guest_config *config, enum log_level *level);

/* --net's value, tap=NAME,mac=ADDRESS..., as an object of "nets"; NULL with a text. */
struct json_t *guest_net_parse(const char *text, struct err *err);

#endif
