#include "node/cli/drill_report.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "node/base/err.h"
#include "node/cli/client.h"
#include "node/cli/command.h"
#include "node/cli/drill_page.h"

enum { EXIT_REFUSED = 1, EXIT_NO_ANSWER = 3, PATH_BYTES = 512 };

static int write_page(const char *path, const json_t *drill)
{
    FILE *f = strcmp(path, "-") ? fopen(path, "we") : stdout;
    if (!f) {
        fprintf(stderr, "drover: %s cannot be written: %s\n", path, strerror(errno));
        return EXIT_REFUSED;
    }
    drill_page_write(f, drill);
    bool failed = ferror(f);
    if ((f == stdout ? fflush(f) : fclose(f)) || failed) {
        fprintf(stderr, "drover: %s cannot be written: %s\n", path, strerror(errno));
        return EXIT_REFUSED;
    }
    return 0;
}

static int show(const json_t *drill, const char *html, bool as_json)
{
    if (html)
        return write_page(html, drill);
    if (as_json)
        command_print_json(drill);
    else
        drill_page_text(stdout, drill);
    return 0;
}

int drill_report_run(const struct command *command, int argc, char **argv)
{
    struct command_common common;
    char path[PATH_BYTES] = "/v1/drills/";
    json_t *body;
    const char *name = command_line(command, argc, argv, &common, &body);
    struct client *client = command_client(&common);
    int rc = EXIT_NO_ANSWER;
    client_escape(name, path + strlen(path), (int)(sizeof path - strlen(path)));
    json_t *drill = client ? command_get(client, path, &rc) : NULL;
    if (drill)
        rc = show(drill, json_string_value(json_object_get(body, "html")), common.json);
    json_decref(drill);
    client_free(client);
    json_decref(body);
    return rc;
}

/* POSIX sh, and what busybox has. The disk is a ring of slots of 512 bytes; a number goes to the slot that is its
 * remainder, is flushed, and only then said. */
static const char script[] =
    "#!/bin/sh\n"
    "# A canary for `drover drill`: writes numbers to the disk in $1 (all of it is overwritten), and says on the "
    "console\n"
    "#     drover-canary ACKED HAD HOLES START\n"
    "# the last number that is on the disk, the last one that was there when it began, and how many were not that "
    "should\n"
    "# have been. Let it run as a service that starts with the guest.\n"
    "disk=${1:-/dev/vdb} console=${2:-/dev/console} slots=${3:-256}\n"
    "read -r start </proc/sys/kernel/random/uuid\n"
    "start=${start%%-*}\n"
    "found=$(dd if=$disk bs=512 count=$slots 2>/dev/null | tr -c 'a-z0-9 ' '\\n' |\n"
    "    sed -n 's/.*canary \\([0-9]\\{1,15\\}\\) .*/\\1/p' | sort -n)\n"
    "had=$(echo \"$found\" | tail -n 1)\n"
    "had=${had:-0} first=$((had >= slots ? had - slots + 1 : 1)) there=0\n"
    "for n in $found; do [ $n -lt $first ] || there=$((there + 1)); done\n"
    "holes=$((had - first + 1 - there)) n=$had\n"
    "[ $had -gt 0 ] || holes=0\n"
    "echo \"drover-canary $n $had $holes $start\" >$console\n"
    "while :; do\n"
    "    n=$((n + 1))\n"
    "    printf '%-511s\\n' \"canary $n\" | dd of=$disk bs=512 seek=$((n % slots)) conv=notrunc,fsync 2>/dev/null &&\n"
    "        echo \"drover-canary $n $had $holes $start\" >$console\n"
    "done\n";

int drill_canary_run(const struct command *command, int argc, char **argv)
{
    struct command_common common;
    command_one_name(command, argc, argv, &common);
    fputs(script, stdout);
    return 0;
}
