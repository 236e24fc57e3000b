#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "nbd/img_command.h"
#include "nbd/img_compare.h"
#include "nbd/img_progress.h"

enum { KEEP_BYTES = 64 << 20 };

struct compare_arguments {
    struct img_arguments common;
    bool strict, json;
    int progress; /* enum img_progress_when */
};

enum { KEY_STRICT = 256, KEY_PROGRESS, KEY_JSON };

static const struct argp_option compare_options[] = {
    {"strict", KEY_STRICT, NULL, 0, "Images of different sizes differ, even if the rest is zeroes", 0},
    {"progress", KEY_PROGRESS, "WHEN", 0, "auto (on a terminal, the default), always or never", 0},
    {"json", KEY_JSON, NULL, 0, "Print the result as JSON", 0},
    {0},
};

static error_t parse_compare(int key, char *value, struct argp_state *state)
{
    struct compare_arguments *a = state->input;
    switch (key) {
    case KEY_STRICT:
        a->strict = true;
        return 0;
    case KEY_PROGRESS:
        return img_arguments_choice(&a->common, "--progress", value, img_progress_choices, &a->progress);
    case KEY_JSON:
        a->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp compare_argp = {
    .options = compare_options,
    .parser = parse_compare,
    .args_doc = "IMAGE IMAGE",
    .doc = "Compares what two images hold. Where one has ended, the other must be zeroes.\v"
           "Exit codes: 0 the same; 1 they differ; 2 any error.",
};

struct compare_run {
    struct img_session session;
    struct img_compare *compare;
    bool done;
    int result;
    struct err *err;
};

static void compare_done(void *context, int result, const struct err *err)
{
    struct compare_run *run = context;
    run->done = true;
    run->result = result;
    if (result)
        *run->err = *err;
}

static uint64_t covered_bytes(void *context)
{
    struct img_compare_result r = img_compare_result(context);
    return r.compared_bytes + r.zero_bytes;
}

static int run_compare(struct compare_run *run, const struct compare_arguments *a, struct blk *first,
                       struct blk *second)
{
    struct img_progress progress;
    uint64_t total = blk_size(first) > blk_size(second) ? blk_size(first) : blk_size(second);
    int rc = img_compare_start(&run->session.env, first, second, compare_done, run, &run->compare, run->err);
    if (rc)
        return rc;
    img_progress_start(&progress, run->session.env.loop, (enum img_progress_when)a->progress, total, covered_bytes,
                       run->compare);
    img_session_wait(&run->session, &run->done);
    img_progress_stop(&progress);
    return run->result;
}

static void report_json(bool differ, const struct img_compare_result *r, const uint64_t *sizes)
{
    json_t *json =
        json_pack("{s:b, s:[I, I]}", "same", !differ, "size_bytes", (json_int_t)sizes[0], (json_int_t)sizes[1]);
    json_object_set_new(json, "first_difference_offset",
                        r->differ ? json_integer((json_int_t)r->first_offset) : json_null());
    img_command_print(json);
}

static int report(const struct compare_arguments *a, const struct img_compare *compare, const uint64_t *sizes)
{
    struct img_compare_result r = img_compare_result(compare);
    bool sizes_differ = sizes[0] != sizes[1], differ = r.differ || (a->strict && sizes_differ);
    if (a->json)
        report_json(differ, &r, sizes);
    else if (r.differ)
        printf("the images differ, first at offset %" PRIu64 "\n", r.first_offset);
    else if (differ)
        printf("the images differ in size: %" PRIu64 " and %" PRIu64 " bytes\n", sizes[0], sizes[1]);
    else if (sizes_differ)
        printf("the images are the same, but for zeroes at the end: %" PRIu64 " and %" PRIu64 " bytes\n", sizes[0],
               sizes[1]);
    else
        printf("the images are the same\n");
    return differ ? IMG_EXIT_FAILED : IMG_EXIT_OK;
}

static int compare_command(int argc, char **argv)
{
    struct compare_arguments a = {0};
    struct compare_run run = {.err = &a.common.err};
    struct blk *blk[2] = {NULL, NULL};
    if (img_arguments_parse(&compare_argp, argc, argv, &a.common) ||
        img_session_init(&run.session, KEEP_BYTES, run.err))
        return img_command_fail("compare", run.err, IMG_EXIT_USAGE);
    int rc = 0, code = IMG_EXIT_USAGE;
    for (int i = 0; i < 2 && !rc; i++)
        rc = img_command_open(&run.session, a.common.places[i], BLK_OPEN_READ_ONLY, &blk[i], run.err);
    if (!rc)
        rc = run_compare(&run, &a, blk[0], blk[1]);
    if (!rc)
        code = report(&a, run.compare, (uint64_t[]){blk_size(blk[0]), blk_size(blk[1])});
    else
        img_command_fail("compare", run.err, code);
    for (int i = 0; i < 2; i++)
        img_session_close(&run.session, blk[i]);
    img_compare_free(run.compare);
    img_session_fini(&run.session);
    return code;
}

const struct img_command img_command_compare = {
    .name = "compare", .help = "tells whether two images hold the same", .argp = &compare_argp, .run = compare_command};
