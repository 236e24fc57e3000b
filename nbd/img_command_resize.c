#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "nbd/img_command.h"

struct resize_arguments {
    struct img_arguments common;
    const char *negative; /* a size that looks like an option */
    bool shrink, json;
};

enum { KEY_SHRINK = 256, KEY_JSON };

/* -1G is the option -1 with the value G to argp */
#define DIGIT(key)                                                                                                     \
    {                                                                                                                  \
        NULL, key, "SIZE", OPTION_HIDDEN | OPTION_ARG_OPTIONAL, NULL, 0                                                \
    }

static const struct argp_option resize_options[] = {
    {"shrink", KEY_SHRINK, NULL, 0, "Allow the image to lose its end", 0},
    {"json", KEY_JSON, NULL, 0, "Print the result as JSON", 0},
    DIGIT('0'),
    DIGIT('1'),
    DIGIT('2'),
    DIGIT('3'),
    DIGIT('4'),
    DIGIT('5'),
    DIGIT('6'),
    DIGIT('7'),
    DIGIT('8'),
    DIGIT('9'),
    {0},
};

static error_t parse_resize(int key, char *value, struct argp_state *state)
{
    struct resize_arguments *a = state->input;
    switch (key) {
    case KEY_SHRINK:
        a->shrink = true;
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    case ARGP_KEY_END: /* options come first, wherever they stood */
        return a->negative ? img_arguments_place(&a->common, a->negative) : 0;
    default:
        if (key < '0' || key > '9')
            return ARGP_ERR_UNKNOWN;
        a->negative = value ? value - 2 : state->argv[state->next - 1];
        return 0;
    }
}

static const struct argp resize_argp = {
    .options = resize_options,
    .parser = parse_resize,
    .args_doc = "IMAGE SIZE",
    .doc = "Gives an image a new size: SIZE, or +SIZE more, or -SIZE less. What is new reads as "
           "zeroes.\v"
           "Exit codes: 0 resized; 1 failed; 2 a bad command line.",
};

struct change {
    char sign; /* '+', '-' or 0 */
    uint64_t bytes;
};

static int parse_change(struct resize_arguments *a, const char *text, struct change *change)
{
    *change = (struct change){.sign = *text == '+' || *text == '-' ? *text : 0};
    return img_arguments_size(&a->common, "SIZE", text + (change->sign != 0), &change->bytes) ? -EINVAL : 0;
}

static int new_size(const struct change *change, uint64_t old_bytes, bool shrink, uint64_t *bytes, struct err *err)
{
    if (change->sign == '-' && change->bytes > old_bytes)
        return err_set(err, EINVAL, "the image has only %" PRIu64 " bytes, it cannot lose %" PRIu64, old_bytes,
                       change->bytes);
    *bytes = change->sign == '+'   ? old_bytes + change->bytes
             : change->sign == '-' ? old_bytes - change->bytes
                                   : change->bytes;
    if (*bytes > INT64_MAX)
        return err_set(err, EINVAL, "the new size is over 2^63-1 bytes");
    if (*bytes < old_bytes && !shrink)
        return err_set(err, EINVAL, "this would cut %" PRIu64 " bytes off the end: --shrink allows it",
                       old_bytes - *bytes);
    return 0;
}

static int resize(struct img_session *session, struct blk *blk, const struct resize_arguments *a,
                  const struct change *change, struct err *err)
{
    uint64_t old_bytes = blk_size(blk);
    struct img_session_io io = {.req = {.op = BLK_RESIZE}};
    int rc = new_size(change, old_bytes, a->shrink, &io.req.offset, err);
    if (rc)
        return rc;
    if (!(blk_can(blk) & BLK_CAN_RESIZE))
        return err_set(err, EOPNOTSUPP, "'%s' cannot be resized", a->common.places[0]);
    if (io.req.offset & (blk_limits(blk)->align_bytes - 1))
        return err_set(err, EINVAL, "the size must be a multiple of %u", blk_limits(blk)->align_bytes);
    rc = img_session_io(session, blk, &io);
    if (!rc) {
        io.req.op = BLK_FLUSH;
        rc = img_session_io(session, blk, &io);
    }
    if (rc)
        return err_set(err, -rc, "from %" PRIu64 " to %" PRIu64 " bytes: %s", old_bytes, io.req.offset, strerror(-rc));
    if (a->json)
        img_command_print(
            json_pack("{s:I, s:I}", "size_bytes", (json_int_t)blk_size(blk), "old_size_bytes", (json_int_t)old_bytes));
    else
        printf("resized from %" PRIu64 " to %" PRIu64 " bytes\n", old_bytes, blk_size(blk));
    return 0;
}

static int resize_command(int argc, char **argv)
{
    struct resize_arguments a = {0};
    struct img_session session;
    struct change change;
    struct blk *blk = NULL;
    struct err *err = &a.common.err;
    int rc = img_arguments_parse(&resize_argp, argc, argv, &a.common);
    if (!rc)
        rc = parse_change(&a, a.common.places[1], &change);
    if (rc)
        return img_command_fail("resize", err, IMG_EXIT_USAGE);
    if (img_session_init(&session, 0, err))
        return img_command_fail("resize", err, IMG_EXIT_FAILED);
    rc = img_command_open(&session, a.common.places[0], 0, &blk, err);
    if (!rc)
        rc = resize(&session, blk, &a, &change, err);
    img_session_close(&session, blk);
    img_session_fini(&session);
    return rc ? img_command_fail("resize", err, IMG_EXIT_FAILED) : IMG_EXIT_OK;
}

const struct img_command img_command_resize = {
    .name = "resize", .help = "gives an image a new size", .argp = &resize_argp, .run = resize_command};
