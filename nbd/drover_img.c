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
#include "node/base/log.h"

static const struct img_command *const commands[] = {&img_command_create, &img_command_info,    &img_command_map,
                                                     &img_command_copy,   &img_command_compare, &img_command_resize};

enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_help(void)
{
    printf("Usage: drover-img COMMAND ARGUMENT...\n"
           "Makes, shows, copies, compares and resizes disk images.\n\n");
    for (int i = 0; i < COMMANDS; i++)
        printf("  %-10s %s\n", commands[i]->name, commands[i]->help);
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

static int unknown(const char *name)
{
    struct err err = {0};
    char known[128] = "";
    for (int i = 0; i < COMMANDS; i++) {
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", commands[i]->name);
    }
    if (name)
        err_set(&err, EINVAL, "there is no command '%.40s' (there are: %s)", name, known);
    else
        err_set(&err, EINVAL, "a command is missing: %s (see drover-img --help)", known);
    return img_command_fail(NULL, &err, IMG_EXIT_USAGE);
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-?") == 0)
            return true;
    return false;
}

/* argv[0] is the command's name. */
static int run_command(const struct img_command *command, int argc, char **argv)
{
    char name[32];
    snprintf(name, sizeof name, "drover-img %s", command->name);
    if (!wants_help(argc, argv))
        return command->run(argc, argv);
    argp_help(command->argp, stdout, ARGP_HELP_STD_HELP & ~ARGP_HELP_EXIT_OK, name);
    putchar('\n');
    return IMG_EXIT_OK;
}

static int run(int argc, char **argv)
{
    if (argc < 2)
        return unknown(NULL);
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i]->name, argv[1]) == 0)
            return run_command(commands[i], argc - 1, argv + 1);
    if (strcmp(argv[1], "help") == 0 || wants_help(argc, argv)) {
        print_help();
        return IMG_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("drover-img %s\n", DROVER_VERSION);
        return IMG_EXIT_OK;
    }
    return unknown(argv[1]);
}

int main(int argc, char **argv)
{
    log_init("drover-img", LOG_LEVEL_WARN);
    blk_drivers_register();
    int code = run(argc, argv);
    if ((fflush(stdout) || ferror(stdout)) && code == IMG_EXIT_OK) {
        struct err err = {0};
        err_set(&err, EIO, "cannot write to standard output: %s", strerror(errno));
        code = img_command_fail(NULL, &err, IMG_EXIT_FAILED);
    }
    return code;
}
