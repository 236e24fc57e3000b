#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "nbd/img_command.h"
#include "nbd/img_copy.h"
#include "nbd/img_destination.h"
#include "nbd/img_progress.h"
#include "node/base/container.h"

enum { REQUEST_BYTES_MIN = 4 << 10, REQUEST_BYTES_MAX = 32 << 20, KEEP_BYTES = 64 << 20 };

struct copy_arguments {
    struct img_arguments common;
    struct img_copy_options options;
    bool has_length, no_create, json;
    int progress; /* enum img_progress_when */
};

struct copy_run {
    struct img_session session;
    struct img_copy *copy;
    struct img_progress progress;
    bool done;
    int result;
    struct err *err;
};

/* ---- command line ---- */

enum {
    KEY_OFFSET = 256,
    KEY_TO_OFFSET,
    KEY_LENGTH,
    KEY_REQUESTS,
    KEY_REQUEST_SIZE,
    KEY_SPARSE,
    KEY_NO_CREATE,
    KEY_NO_FLUSH,
    KEY_IS_ZERO,
    KEY_PROGRESS,
    KEY_JSON
};

static const struct argp_option copy_options[] = {
    {"offset", KEY_OFFSET, "SIZE", 0, "Begin here in the source", 0},
    {"to-offset", KEY_TO_OFFSET, "SIZE", 0, "Begin here in the destination", 0},
    {"length", KEY_LENGTH, "SIZE", 0, "Copy so many bytes (default: to the end of the source)", 0},
    {"requests", KEY_REQUESTS, "N", 0, "Requests in flight, 1 to 1024 (default 16)", 0},
    {"request-size", KEY_REQUEST_SIZE, "SIZE", 0, "Bytes of a request, 4K to 32M (default 256K)", 0},
    {"sparse", KEY_SPARSE, "WHEN", 0,
     "auto: leave out what the source reports as zeroes, and zeroes in the data by blocks of 64 "
     "KiB (default); "
     "always: by blocks of 4 KiB; never: read and write every byte",
     0},
    {"no-create", KEY_NO_CREATE, NULL, 0, "Fail if the destination does not exist", 0},
    {"no-flush", KEY_NO_FLUSH, NULL, 0, "Do not wait until the data is on stable storage", 0},
    {"destination-is-zero", KEY_IS_ZERO, NULL, 0, "Trust that the destination reads as zeroes, and write none", 0},
    {"progress", KEY_PROGRESS, "WHEN", 0, "auto (on a terminal, the default), always or never", 0},
    {"json", KEY_JSON, NULL, 0, "Print the result as JSON", 0},
    {0},
};

static error_t parse_copy(int key, char *value, struct argp_state *state)
{
    static const char *const sparse[] = {"auto", "always", "never", NULL};
    struct copy_arguments *a = state->input;
    struct img_copy_options *o = &a->options;
    uint64_t number = 0;
    int choice = 0;
    error_t rc = 0;
    switch (key) {
    case KEY_OFFSET:
        return img_arguments_size(&a->common, "--offset", value, &o->offset);
    case KEY_TO_OFFSET:
        return img_arguments_size(&a->common, "--to-offset", value, &o->to_offset);
    case KEY_LENGTH:
        a->has_length = true;
        return img_arguments_size(&a->common, "--length", value, &o->length_bytes);
    case KEY_REQUESTS:
        rc = img_arguments_number(&a->common, "--requests", value, 1, IMG_COPY_REQUESTS_MAX, &number);
        o->requests = (unsigned)number;
        return rc;
    case KEY_REQUEST_SIZE:
        rc = img_arguments_size(&a->common, "--request-size", value, &number);
        if (!rc && (number < REQUEST_BYTES_MIN || number > REQUEST_BYTES_MAX || number & (number - 1))) {
            err_set(&a->common.err, EINVAL, "--request-size: '%.40s' must be a power of two from 4K to 32M", value);
            return EINVAL;
        }
        o->request_bytes = (uint32_t)number;
        return rc;
    case KEY_SPARSE:
        rc = img_arguments_choice(&a->common, "--sparse", value, sparse, &choice);
        o->sparse = (enum img_copy_sparse)choice;
        return rc;
    case KEY_PROGRESS:
        return img_arguments_choice(&a->common, "--progress", value, img_progress_choices, &a->progress);
    case KEY_NO_CREATE:
        a->no_create = true;
        return 0;
    case KEY_NO_FLUSH:
        o->no_flush = true;
        return 0;
    case KEY_IS_ZERO:
        o->destination_is_zero = true;
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp copy_argp = {
    .options = copy_options,
    .parser = parse_copy,
    .args_doc = "SOURCE DESTINATION",
    .doc = "Copies the source onto the destination.\v"
           "A destination file that does not exist is created, one that is too small is grown; "
           "what lies outside "
           "the copied window stays as it is. Any read or write that fails ends the copy, with its "
           "offset and cause; "
           "a destination made so far is left behind, incomplete.\n\n"
           "Exit codes: 0 copied; 1 failed; 2 a bad command line; 130, 143 stopped by SIGINT, "
           "SIGTERM.",
};

/* ---- running ---- */

static void copy_done(void *context, int result, const struct err *err)
{
    struct copy_run *run = context;
    run->done = true;
    run->result = result;
    if (result)
        *run->err = *err;
}

static void interrupted(struct img_session *session)
{
    img_copy_stop(CONTAINER_OF(session, struct copy_run, session)->copy);
}

static uint64_t covered_bytes(void *context)
{
    struct img_copy_totals t = img_copy_totals(context);
    return t.copied_bytes + t.zero_bytes;
}

static int run_copy(struct copy_run *run, const struct copy_arguments *a, struct blk *source, struct blk *destination)
{
    int rc = img_session_guard(&run->session, interrupted, run->err);
    if (rc)
        return rc;
    rc = img_copy_start(&run->session.env, source, destination, &a->options, copy_done, run, &run->copy, run->err);
    if (!rc) {
        img_progress_start(&run->progress, run->session.env.loop, (enum img_progress_when)a->progress,
                           a->options.length_bytes, covered_bytes, run->copy);
        img_session_wait(&run->session, &run->done);
        img_progress_stop(&run->progress);
        rc = run->result;
    }
    img_session_unguard(&run->session);
    return rc;
}

static bool same_file(const char *a, const char *b)
{
    struct img_location la = {0}, lb = {0};
    struct stat sa, sb;
    bool same = img_location_parse(a, &la, NULL) == 0 && img_location_parse(b, &lb, NULL) == 0 && la.path && lb.path &&
                stat(la.path, &sa) == 0 && stat(lb.path, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
    img_location_fini(&la);
    img_location_fini(&lb);
    return same;
}

/* Makes the window whole and returns how large the destination must be. */
static int find_window(struct copy_arguments *a, uint64_t source_bytes, uint64_t *needed_bytes, struct err *err)
{
    struct img_copy_options *o = &a->options;
    if (o->offset > source_bytes)
        return err_set(err, EINVAL,
                       "--offset: %" PRIu64 " is behind the end of the source, which has %" PRIu64 " bytes", o->offset,
                       source_bytes);
    if (!a->has_length)
        o->length_bytes = source_bytes - o->offset;
    if (o->length_bytes > source_bytes - o->offset)
        return err_set(err, EINVAL,
                       "--length: %" PRIu64 " bytes from %" PRIu64 " do not fit into the source, which has %" PRIu64
                       " bytes",
                       o->length_bytes, o->offset, source_bytes);
    if (o->to_offset > INT64_MAX - o->length_bytes)
        return err_set(err, EINVAL, "--to-offset: %" PRIu64 " and the length are over 2^63-1 bytes", o->to_offset);
    *needed_bytes = o->to_offset + o->length_bytes;
    return 0;
}

static int copy_between(struct copy_run *run, struct copy_arguments *a)
{
    const char *from = a->common.places[0], *to = a->common.places[1];
    struct blk *source = NULL;
    struct img_destination destination = {0};
    uint64_t needed_bytes = 0;
    int rc = img_command_open(&run->session, from, BLK_OPEN_READ_ONLY, &source, run->err);
    if (!rc && same_file(from, to))
        rc = err_set(run->err, EINVAL, "'%s' and '%s' are the same file", from, to);
    if (!rc)
        rc = find_window(a, blk_size(source), &needed_bytes, run->err);
    if (!rc)
        rc = img_destination_open(&run->session, to, needed_bytes, !a->no_create, &destination, run->err);
    if (!rc) {
        a->options.destination_is_zero |= destination.zero_from <= a->options.to_offset;
        rc = run_copy(run, a, source, destination.blk);
        if (rc)
            err_prefix(run->err, "'%s' is incomplete", to);
    }
    img_session_close(&run->session, source);
    img_session_close(&run->session, destination.blk);
    return rc;
}

static void report(const struct img_copy *copy, bool json)
{
    struct img_copy_totals t = img_copy_totals(copy);
    double seconds = (double)(t.end_ns - t.begin_ns) / 1e9;
    double rate = seconds > 0 ? (double)t.copied_bytes / seconds : 0;
    if (json)
        img_command_print(json_pack("{s:I, s:I, s:f, s:f}", "copied_bytes", (json_int_t)t.copied_bytes, "zero_bytes",
                                    (json_int_t)t.zero_bytes, "seconds", seconds, "bytes_per_second", rate));
    else
        printf("%" PRIu64 " bytes copied, %" PRIu64 " bytes skipped as zeroes, %.3f seconds, %.1f MB/s\n",
               t.copied_bytes, t.zero_bytes, seconds, rate / 1e6);
}

static int copy_command(int argc, char **argv)
{
    struct copy_arguments a = {0};
    struct copy_run run = {0};
    if (img_arguments_parse(&copy_argp, argc, argv, &a.common))
        return img_command_fail("copy", &a.common.err, IMG_EXIT_USAGE);
    run.err = &a.common.err;
    int rc = img_session_init(&run.session, KEEP_BYTES, run.err);
    if (rc)
        return img_command_fail("copy", run.err, IMG_EXIT_FAILED);
    rc = copy_between(&run, &a);
    if (!rc)
        report(run.copy, a.json);
    img_copy_free(run.copy);
    img_session_fini(&run.session);
    if (!rc)
        return IMG_EXIT_OK;
    bool by_signal = rc == -ECANCELED && run.session.signal_seen;
    return img_command_fail("copy", run.err, by_signal ? IMG_EXIT_SIGNAL + run.session.signal_seen : IMG_EXIT_FAILED);
}

const struct img_command img_command_copy = {.name = "copy",
                                             .help = "copies one image onto another, whatever they are",
                                             .argp = &copy_argp,
                                             .run = copy_command};
