#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "nbd/img_luks.h"

static const struct argp_option check_options[] = {
    {"repair", IMG_LUKS_REPAIR, NULL, 0, "Make a damaged or old header like the good one", 0},
    {"json", IMG_LUKS_JSON, NULL, 0, "Print the result as JSON", 0},
    {0},
};

static const struct argp check_argp = {
    .options = check_options,
    .parser = img_luks_parse,
    .args_doc = "IMAGE",
    .doc = "Checks a LUKS header: both copies, their checksums, and what lies where.\v"
           "No key is needed; whether a key opens the volume is not checked. The image may be in use.\n\n"
           "Exit codes: 0 sound, or repaired; 1 damaged, or it could not be read; 2 a bad command line.",
};

static bool sound(const struct luks_volume *v)
{
    return v->header.version == 1 || (v->copies[0].state == LUKS_COPY_GOOD && v->copies[1].state == LUKS_COPY_GOOD);
}

static void print_text(const struct luks_volume *v, bool repaired)
{
    if (repaired)
        printf("the headers are alike again\n");
    else if (sound(v))
        printf(v->header.version == 1 ? "the header is sound (LUKS1 has one, without a checksum)\n"
                                      : "both headers are sound\n");
    for (int i = 0; i < 2 && !repaired && v->header.version == 2; i++) {
        const char *which = i ? "second" : "first";
        if (v->copies[i].state == LUKS_COPY_OLD)
            printf("the %s header is older than the other (--repair makes it like that one)\n", which);
        else if (v->copies[i].state == LUKS_COPY_DAMAGED)
            printf("the %s header is damaged: %s (--repair makes it like the other)\n", which, v->copies[i].why.text);
    }
}

static int check(const struct img_luks_arguments *a, int *code, struct err *err)
{
    struct img_luks luks;
    bool repaired = false;
    int rc = img_luks_open(&luks, a->common.places[0], a->repair ? IMG_LUKS_CHANGE : IMG_LUKS_READ, err);
    if (rc)
        return rc;
    bool was_sound = sound(&luks.volume);
    if (a->repair && !was_sound) {
        rc = luks_change_repair(&luks.volume, err);
        repaired = !rc;
    }
    *code = was_sound || repaired ? IMG_EXIT_OK : IMG_EXIT_FAILED;
    if (!rc && a->json) {
        json_t *json = img_luks_describe(&luks.volume);
        json_object_set_new(json, "sound", json_boolean(was_sound));
        json_object_set_new(json, "repaired", json_boolean(repaired));
        img_command_print(json);
    } else if (!rc) {
        print_text(&luks.volume, repaired);
    }
    img_luks_close(&luks);
    return rc;
}

static int check_command(int argc, char **argv)
{
    struct img_luks_arguments a;
    int code = IMG_EXIT_FAILED;
    img_luks_arguments_init(&a);
    struct err *err = &a.common.err;
    if (img_arguments_parse(&check_argp, argc, argv, &a.common))
        return img_command_fail("luks check", err, IMG_EXIT_USAGE);
    if (check(&a, &code, err))
        return img_command_fail("luks check", err, IMG_EXIT_FAILED);
    return code;
}

const struct img_command img_luks_check = {
    .name = "check", .help = "checks a LUKS header, and repairs it", .argp = &check_argp, .run = check_command};
