#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "nbd/img_command.h"

enum { EXTENTS_MAX = 512 };

struct map_arguments {
    struct img_arguments common;
    uint64_t offset, length_bytes;
    bool has_length, json;
};

enum { KEY_OFFSET = 256, KEY_LENGTH, KEY_JSON };

static const struct argp_option map_options[] = {
    {"offset", KEY_OFFSET, "SIZE", 0, "Begin here", 0},
    {"length", KEY_LENGTH, "SIZE", 0, "Cover so many bytes (default: to the end)", 0},
    {"json", KEY_JSON, NULL, 0, "Print it as JSON", 0},
    {0},
};

static error_t parse_map(int key, char *value, struct argp_state *state)
{
    struct map_arguments *a = state->input;
    switch (key) {
    case KEY_OFFSET:
        return img_arguments_size(&a->common, "--offset", value, &a->offset);
    case KEY_LENGTH:
        a->has_length = true;
        return img_arguments_size(&a->common, "--length", value, &a->length_bytes);
    case KEY_JSON:
        a->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp map_argp = {
    .options = map_options,
    .parser = parse_map,
    .args_doc = "IMAGE",
    .doc = "Shows which parts of an image are data, zeroes and holes (which take no space).\v"
           "Depth: 0 allocated nowhere, 1 in the image itself, 2 in its backing image, and so on.\n\n"
           "Exit codes: 0 shown; 1 failed; 2 a bad command line.",
};

static void print_extent(uint64_t offset, const struct blk_extent *e, json_t *list)
{
    bool zero = e->flags & BLK_EXTENT_ZERO, hole = e->flags & BLK_EXTENT_HOLE;
    if (list)
        json_array_append_new(list, json_pack("{s:I, s:I, s:b, s:b, s:i}", "offset_bytes", (json_int_t)offset,
                                              "length_bytes", (json_int_t)e->length_bytes, "zero", zero, "hole", hole,
                                              "depth", (int)e->depth));
    else
        printf("%16" PRIu64 " %16" PRIu64 "  %5u  %s\n", offset, e->length_bytes, e->depth,
               hole ? (zero ? "hole" : "hole, undefined") : (zero ? "zero" : "data"));
}

/* Asks piece by piece; joins what is alike across the pieces; clips to [offset, end). */
static int map(struct img_session *session, struct blk *blk, uint64_t offset, uint64_t end, json_t *list,
               struct err *err)
{
    static struct blk_extent extents[EXTENTS_MAX];
    uint64_t mask = blk_limits(blk)->align_bytes - 1, at = offset & ~mask, begin = offset;
    struct blk_extent last = {0};
    while (at < end) {
        struct img_session_io io = {
            .req = {.op = BLK_EXTENTS, .offset = at, .extents = extents, .extent_max = EXTENTS_MAX}};
        io.req.length_bytes = ((end + mask) & ~mask) - at;
        int rc = img_session_io(session, blk, &io);
        if (rc)
            return err_set(err, -rc, "asking for extents at offset %" PRIu64 ": %s", at, strerror(-rc));
        for (uint32_t i = 0; i < io.req.extent_count; i++) {
            uint64_t from = at > offset ? at : offset;
            at += extents[i].length_bytes;
            uint64_t bytes = (at < end ? at : end) - from;
            if (at <= offset || from >= end)
                continue;
            if (last.length_bytes && (last.flags != extents[i].flags || last.depth != extents[i].depth)) {
                print_extent(begin, &last, list);
                begin += last.length_bytes;
                last.length_bytes = 0;
            }
            bytes += last.length_bytes;
            last = extents[i];
            last.length_bytes = bytes;
        }
    }
    if (last.length_bytes)
        print_extent(begin, &last, list);
    return 0;
}

static int map_image(struct img_session *session, struct map_arguments *a, struct blk *blk, struct err *err)
{
    uint64_t size = blk_size(blk);
    if (a->offset > size)
        return err_set(err, EINVAL, "--offset: %" PRIu64 " is behind the end of the image, which has %" PRIu64 " bytes",
                       a->offset, size);
    if (!a->has_length)
        a->length_bytes = size - a->offset;
    if (a->length_bytes > size - a->offset)
        return err_set(err, EINVAL, "--length: the image has only %" PRIu64 " bytes from there", size - a->offset);
    if (!(blk_can(blk) & BLK_CAN_EXTENTS))
        return err_set(err, EOPNOTSUPP, "this image cannot tell where its data is");
    json_t *list = a->json ? json_array() : NULL;
    if (!list)
        printf("%16s %16s  %5s  %s\n", "offset", "length", "depth", "what");
    int rc = map(session, blk, a->offset, a->offset + a->length_bytes, list, err);
    if (list && !rc)
        img_command_print(list);
    else
        json_decref(list);
    return rc;
}

static int map_command(int argc, char **argv)
{
    struct map_arguments a = {0};
    struct img_session session;
    struct blk *blk = NULL;
    struct err *err = &a.common.err;
    if (img_arguments_parse(&map_argp, argc, argv, &a.common))
        return img_command_fail("map", err, IMG_EXIT_USAGE);
    if (img_session_init(&session, 0, err))
        return img_command_fail("map", err, IMG_EXIT_FAILED);
    int rc = img_command_open(&session, a.common.places[0], BLK_OPEN_READ_ONLY, &blk, err);
    if (!rc)
        rc = map_image(&session, &a, blk, err);
    img_session_close(&session, blk);
    img_session_fini(&session);
    return rc ? img_command_fail("map", err, IMG_EXIT_FAILED) : IMG_EXIT_OK;
}

const struct img_command img_command_map = {.name = "map",
                                            .help = "shows which parts of an image are data and which are holes",
                                            .argp = &map_argp,
                                            .run = map_command};
