/* The commands of drover-img. Each has a file of its own, img_command_NAME.c. Thread: main. */
#ifndef NBD_IMG_COMMAND_H
#define NBD_IMG_COMMAND_H

#include <jansson.h>

#include "nbd/img_arguments.h"
#include "nbd/img_location.h"
#include "nbd/img_session.h"

/* What the process ends with. A signal that stopped a copy: 128 and its number. */
enum img_exit {
    IMG_EXIT_OK = 0,
    IMG_EXIT_FAILED = 1, /* compare: they differ */
    IMG_EXIT_USAGE = 2,  /* compare: any error */
    IMG_EXIT_SIGNAL = 128,
};

struct img_command {
    const char *name, *help;
    const struct argp *argp;           /* of the command line, for --help */
    int (*run)(int argc, char **argv); /* returns the exit code; has printed everything */
    /* instead of argp and run: commands of its own, NULL at the end */
    const struct img_command *const *below;
};

extern const struct img_command img_command_create, img_command_info, img_command_map, img_command_copy,
    img_command_compare, img_command_resize, img_command_luks;

/* Prints "drover-img COMMAND: text" on standard error and returns code. */
int img_command_fail(const char *command, const struct err *err, int code);

/* Opens the stack that text means; errors name it. */
int img_command_open(struct img_session *session, const char *text, uint32_t flags, struct blk **blk, struct err *err);

/* Prints and frees; an object or an array on lines of its own. */
void img_command_print(json_t *json);

#endif
