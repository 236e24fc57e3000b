#include "nbd/img_command.h"

#include <stdio.h>

int img_command_fail(const char *command, const struct err *err, int code)
{
    fprintf(stderr, "drover-img%s%s: %s\n", command ? " " : "", command ? command : "", err->text);
    return code;
}

int img_command_open(struct img_session *session, const char *text, uint32_t flags, struct blk **blk, struct err *err)
{
    struct img_location location;
    int rc = img_location_parse(text, &location, err);
    if (!rc)
        rc = blk_open(&session->env, location.stack, flags, blk, err);
    img_location_fini(&location);
    return rc;
}

void img_command_print(json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(json);
}
