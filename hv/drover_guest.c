/* drover-guest: one process, one guest. `run` is the guest, `ctl` asks a running one for something.
 *
 * The stages are those of guest_jail.h: receive -> build -> seal -> open -> run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/control_command.h"
#include "hv/engine_choice.h"
#include "hv/guest.h"
#include "hv/guest_arguments.h"
#include "hv/guest_files.h"
#include "hv/guest_jail.h"
#include "nbd/blk_driver.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "replication/volume.h"

static const char usage[] = "Usage: drover-guest run [OPTION...]\n"
                            "       drover-guest ctl unix:PATH COMMAND [ARGUMENT...]\n"
                            "\n"
                            "run   run a guest in this process until it is switched off\n"
                            "ctl   ask something of a running guest\n"
                            "\n"
                            "Each explains itself with --help.\n";

static int run(int argc, char **argv)
{
    struct guest_config config;
    struct guest_files files;
    struct err err = {0};
    enum log_level level = LOG_LEVEL_INFO;
    static char name[] = "drover-guest run";
    argv[0] = name;
    guest_arguments_parse(argc, argv, &config, &level);
    log_init("drover-guest", level);
    blk_drivers_register();
    replication_drivers_register();
    if (guest_files_open(&files, &config, &err) || guest_jail_enter(&err)) {
        log_error("%s", err.text);
        return EXIT_FAILURE;
    }
    const struct engine *engine = engine_choose(config.engine, &err);
    struct guest *guest = engine ? guest_build(&config, &files, engine, &err) : NULL;
    int rc = guest ? guest_seal(guest, &err) : -1;
    rc = rc ? rc : guest_open(guest, &err);
    if (rc)
        log_error("%s: %s", config.name, err.text);
    else
        rc = guest_run(guest);
    rc = rc ? EXIT_FAILURE : EXIT_SUCCESS;
    if (!guest_end(guest))
        _exit(rc);
    guest_files_close(&files);
    guest_config_fini(&config);
    return rc;
}

int main(int argc, char **argv)
{
    log_init("drover-guest", LOG_LEVEL_INFO);
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "run") == 0)
        return run(argc - 1, argv + 1);
    if (strcmp(command, "ctl") == 0)
        return control_command(argc - 1, argv + 1);
    if (strcmp(command, "--version") == 0) {
        printf("drover-guest %s\n", DROVER_VERSION);
        return EXIT_SUCCESS;
    }
    bool help = strcmp(command, "--help") == 0 || strcmp(command, "-?") == 0;
    fputs(usage, help ? stdout : stderr);
    return help ? EXIT_SUCCESS : 2;
}
