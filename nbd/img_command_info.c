#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "nbd/img_command.h"
#include "node/base/units.h"

struct info_arguments {
    struct img_arguments common;
    bool json;
};

enum { KEY_JSON = 256 };

static const struct argp_option info_options[] = {
    {"json", KEY_JSON, NULL, 0, "Print it as JSON", 0},
    {0},
};

static error_t parse_info(int key, char *value, struct argp_state *state)
{
    struct info_arguments *a = state->input;
    (void)value;
    if (key != KEY_JSON)
        return ARGP_ERR_UNKNOWN;
    a->json = true;
    return 0;
}

static const struct argp info_argp = {
    .options = info_options,
    .parser = parse_info,
    .args_doc = "IMAGE",
    .doc = "Shows what an image is: its drivers, size, limits and abilities.\v"
           "Exit codes: 0 shown; 1 it cannot be opened; 2 a bad command line.",
};

static const struct {
    uint32_t bit;
    const char *name;
} abilities[] = {{BLK_CAN_TRIM, "trim"},       {BLK_CAN_ZERO, "zero"},           {BLK_CAN_FAST_ZERO, "fast-zero"},
                 {BLK_CAN_RESIZE, "resize"},   {BLK_CAN_CACHE, "cache"},         {BLK_CAN_MULTI_CONN, "multi-conn"},
                 {BLK_CAN_EXTENTS, "extents"}, {BLK_IS_ROTATIONAL, "rotational"}};

enum { ABILITIES = sizeof abilities / sizeof *abilities };

/* What the file takes on its file system; false: it is no file. */
static bool allocated(const char *text, uint64_t *bytes)
{
    struct img_location location;
    struct stat st;
    bool known = img_location_parse(text, &location, NULL) == 0 && location.path && stat(location.path, &st) == 0 &&
                 S_ISREG(st.st_mode);
    if (known)
        *bytes = (uint64_t)st.st_blocks * 512;
    img_location_fini(&location);
    return known;
}

static json_t *describe(const char *text, const struct blk *blk)
{
    const struct blk_limits *limits = blk_limits(blk);
    json_t *drivers = json_array(), *can = json_array();
    uint64_t bytes;
    for (const struct blk *layer = blk; layer; layer = blk_below(layer))
        json_array_append_new(drivers, json_string(blk_driver_name(layer)));
    for (int i = 0; i < ABILITIES; i++)
        if (blk_can(blk) & abilities[i].bit)
            json_array_append_new(can, json_string(abilities[i].name));
    json_t *json = json_pack("{s:o*, s:o, s:I}", "image", json_string(text), "drivers", drivers, "size_bytes",
                             (json_int_t)blk_size(blk));
    if (allocated(text, &bytes))
        json_object_set_new(json, "allocated_bytes", json_integer((json_int_t)bytes));
    json_object_set_new(json, "align_bytes", json_integer(limits->align_bytes));
    json_object_set_new(json, "preferred_bytes", json_integer(limits->preferred_bytes));
    json_object_set_new(json, "max_transfer_bytes", json_integer(limits->max_transfer_bytes));
    json_object_set_new(json, "can", can);
    return json;
}

static void print_list(const char *title, const json_t *list)
{
    size_t i;
    json_t *word;
    printf("%-13s", title);
    json_array_foreach (list, i, word)
        printf("%s%s", i ? ", " : "", json_string_value(word));
    printf("%s\n", json_array_size(list) ? "" : "-");
}

static void print_size(const char *title, const json_t *bytes)
{
    char text[32];
    uint64_t n = (uint64_t)json_integer_value(bytes);
    printf("%-13s%s", title, units_format_size(n, text, sizeof text));
    printf(n < 1024 ? "\n" : " (%" PRIu64 " bytes)\n", n);
}

static void print_text(const char *text, json_t *json)
{
    const json_t *bytes = json_object_get(json, "allocated_bytes");
    printf("%-13s%s\n", "image:", text);
    print_list("drivers:", json_object_get(json, "drivers"));
    print_size("size:", json_object_get(json, "size_bytes"));
    if (bytes)
        print_size("allocated:", bytes);
    printf("%-13salignment %lld, preferred %lld, at most %lld bytes a request\n",
           "requests:", json_integer_value(json_object_get(json, "align_bytes")),
           json_integer_value(json_object_get(json, "preferred_bytes")),
           json_integer_value(json_object_get(json, "max_transfer_bytes")));
    print_list("can:", json_object_get(json, "can"));
    json_decref(json);
}

static int info_command(int argc, char **argv)
{
    struct info_arguments a = {0};
    struct img_session session;
    struct blk *blk = NULL;
    struct err *err = &a.common.err;
    if (img_arguments_parse(&info_argp, argc, argv, &a.common))
        return img_command_fail("info", err, IMG_EXIT_USAGE);
    const char *text = a.common.places[0];
    if (img_session_init(&session, 0, err))
        return img_command_fail("info", err, IMG_EXIT_FAILED);
    int rc = img_command_open(&session, text, BLK_OPEN_READ_ONLY, &blk, err);
    if (!rc && a.json)
        img_command_print(describe(text, blk));
    else if (!rc)
        print_text(text, describe(text, blk));
    img_session_close(&session, blk);
    img_session_fini(&session);
    return rc ? img_command_fail("info", err, IMG_EXIT_FAILED) : IMG_EXIT_OK;
}

const struct img_command img_command_info = {
    .name = "info", .help = "shows what an image is", .argp = &info_argp, .run = info_command};
