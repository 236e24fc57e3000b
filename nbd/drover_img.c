/* drover-img: makes, shows, copies, compares and resizes disk images, wherever a stack of the block
 * layer can reach.
 *
 * Copying itself is img_copy.c, comparing img_compare.c; a command's file holds its command line
 * and its output. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "nbd/blk_driver.h"
#include "nbd/img_command.h"
#include "nbd/program.h"
#include "node/base/log.h"

static void print_help(void)
{
    printf("Usage: drover-img COMMAND ARGUMENT...\n"
           "Makes, shows, copies, compares and resizes disk images.\n\n");
    for (int i = 0; program_img_commands[i]; i++)
        printf("  %-10s %s\n", program_img_commands[i]->name, program_img_commands[i]->help);
    printf("\nWhere an image is:\n"
           "  disk.img, /dev/sdb              a raw file or device (./a:b for names like "
           "DRIVER:VALUE)\n"
           "  nbd://HOST[:PORT]/EXPORT        an NBD server; also nbds://, nbd+unix://, nbds+unix://\n"
           "  DRIVER:VALUE                    one driver, as in raw:disk.img, mem:1G\n"
           "  [{\"driver\":...}, ...], @FILE    a stack of drivers, top first; drivers:");
    for (unsigned i = 0; blk_driver_at(i); i++)
        printf(" %s", blk_driver_at(i)->name);
    printf("\nSizes may have a suffix K, M, G, T, P or E (powers of 1024).\n\n"
           "Exit codes: 0 done; 1 failed (compare: the images differ); 2 a bad command line "
           "(compare: or\n"
           "any other error); 130, 143 stopped by SIGINT, SIGTERM.\n"
           "drover-img COMMAND --help tells more.\n");
}

/* above: "" or the command whose own these are, with a space behind. */
static int unknown(const struct img_command *const *known_ones, const char *above, const char *name)
{
    struct err err = {0};
    char known[128] = "";
    for (int i = 0; known_ones[i]; i++) {
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", known_ones[i]->name);
    }
    if (name)
        err_set(&err, EINVAL, "there is no command '%s%.40s' (there are: %s)", above, name, known);
    else
        err_set(&err, EINVAL, "a command is missing: %s (see drover-img %s--help)", known, above);
    return img_command_fail(NULL, &err, IMG_EXIT_USAGE);
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-?") == 0)
            return true;
    return false;
}

static const struct img_command *find(const struct img_command *const *among, const char *name)
{
    for (int i = 0; among[i]; i++)
        if (strcmp(among[i]->name, name) == 0)
            return among[i];
    return NULL;
}

/* argv[0] is the command's name; above: as for unknown(). */
static int run_command(const struct img_command *command, const char *above, int argc, char **argv)
{
    char name[64];
    snprintf(name, sizeof name, "drover-img %s%s", above, command->name);
    if (!wants_help(argc, argv))
        return command->run(argc, argv);
    argp_help(command->argp, stdout, ARGP_HELP_STD_HELP & ~ARGP_HELP_EXIT_OK, name);
    putchar('\n');
    return IMG_EXIT_OK;
}

/* argv[0] is the name of a command that has others below it. */
static int run_below(const struct img_command *command, int argc, char **argv)
{
    char above[32];
    const struct img_command *inner = argc > 1 ? find(command->below, argv[1]) : NULL;
    snprintf(above, sizeof above, "%s ", command->name);
    if (inner)
        return run_command(inner, above, argc - 1, argv + 1);
    if (!wants_help(argc, argv))
        return unknown(command->below, above, argc > 1 ? argv[1] : NULL);
    printf("Usage: drover-img %s COMMAND ARGUMENT...\nIt %s.\n\n", command->name, command->help);
    for (int i = 0; command->below[i]; i++)
        printf("  %-11s %s\n", command->below[i]->name, command->below[i]->help);
    printf("\ndrover-img %s COMMAND --help tells more.\n", command->name);
    return IMG_EXIT_OK;
}

static int run(int argc, char **argv)
{
    if (argc < 2)
        return unknown(program_img_commands, "", NULL);
    const struct img_command *command = find(program_img_commands, argv[1]);
    if (command && command->below)
        return run_below(command, argc - 1, argv + 1);
    if (command)
        return run_command(command, "", argc - 1, argv + 1);
    if (strcmp(argv[1], "help") == 0 || wants_help(argc, argv)) {
        print_help();
        return IMG_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("drover-img %s\n", DROVER_VERSION);
        return IMG_EXIT_OK;
    }
    return unknown(program_img_commands, "", argv[1]);
}

int main(int argc, char **argv)
{
    log_init("drover-img", LOG_LEVEL_WARN);
    program_drivers_register();
    int code = run(argc, argv);
    if ((fflush(stdout) || ferror(stdout)) && code == IMG_EXIT_OK) {
        struct err err = {0};
        err_set(&err, EIO, "cannot write to standard output: %s", strerror(errno));
        code = img_command_fail(NULL, &err, IMG_EXIT_FAILED);
    }
    return code;
}
