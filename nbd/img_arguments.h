/* The command line of one drover-img command, read with argp, but complained about in one line that
 * names the part and says what would be right (argp itself says less, in two lines).
 *
 * A command's own struct begins with struct img_arguments; its parser gets it as state->input and
 * returns what the functions below return. Thread: main. */
#ifndef NBD_IMG_ARGUMENTS_H
#define NBD_IMG_ARGUMENTS_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include "node/base/err.h"

enum { IMG_PLACES_MAX = 2 };

struct img_arguments {
    struct err err;
    const char *places[IMG_PLACES_MAX]; /* what is no option, in order */
    unsigned place_count;
    const struct argp *argp; /* img_arguments_parse()'s own, like what follows */
    int refused_next;
};

/* Parses all of argv; argp may have options, parser, args_doc and doc; args_doc names the places
 * ("SOURCE DESTINATION"), every one of which must be there. Errors: -EINVAL, the text in
 * input->err. --help and --usage print and end the process with 0. */
int img_arguments_parse(const struct argp *argp, int argc, char **argv, struct img_arguments *input);

/* For parsers: value of `option` ("--offset"). 0 or EINVAL, with the text set. */
error_t img_arguments_size(struct img_arguments *input, const char *option, const char *value, uint64_t *bytes);
error_t img_arguments_number(struct img_arguments *input, const char *option, const char *value, uint64_t min,
                             uint64_t max, uint64_t *number);
/* choices: NULL-terminated; *choice becomes the index. */
error_t img_arguments_choice(struct img_arguments *input, const char *option, const char *value,
                             const char *const *choices, int *choice);
/* Takes value as a place although it looks like an option. What does not look like one comes here
 * by itself. */
error_t img_arguments_place(struct img_arguments *input, const char *value);

#endif
