/* drover: the command line of a cluster. `drover NOUN VERB ...`; what there is stands in commands.c. */
#include <stdio.h>
#include <string.h>

#include "node/cli/command.h"
#include "node/cli/completion.h"
#include "node/cli/manual.h"

enum { EXIT_COMMAND_LINE = 2 };

static void print_nouns(FILE *to)
{
    fprintf(to, "Usage: drover NOUN VERB [ARGUMENT...]\n\n");
    for (const struct command *c = commands; c->noun; c++)
        fprintf(to, "  %-8s %-8s %-8s %s\n", c->noun, c->verb, c->names, c->help);
    fprintf(to, "\nEvery command has --help. `drover completion bash` prints a completion, `drover manual` the manual "
                "page. Exit codes: 0 done; 1 refused or failed; 2 a bad command line; 3 no answer;\n"
                "4 not there; 5 --wait took too long.\n");
}

static int no_verb(const char *noun, const char *verb)
{
    bool known = false;
    for (const struct command *c = commands; c->noun; c++)
        known |= !strcmp(c->noun, noun);
    if (!known)
        fprintf(stderr, "drover: there is no noun '%s'; `drover --help` shows those there are\n", noun);
    else
        fprintf(stderr, "drover: %s %s '%s'; there are:", noun, verb ? "knows no verb" : "needs a verb",
                verb ? verb : "");
    for (const struct command *c = commands; known && c->noun; c++)
        if (!strcmp(c->noun, noun))
            fprintf(stderr, " %s", c->verb);
    if (known)
        fprintf(stderr, "\n");
    return EXIT_COMMAND_LINE;
}

int main(int argc, char **argv)
{
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
        print_nouns(argc < 2 ? stderr : stdout);
        return argc < 2 ? EXIT_COMMAND_LINE : 0;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("drover %s\n", DROVER_VERSION);
        return 0;
    }
    if (!strcmp(argv[1], "completion"))
        return completion_print(argc > 2 ? argv[2] : "bash");
    if (!strcmp(argv[1], "manual")) {
        manual_print(DROVER_VERSION);
        return 0;
    }
    for (const struct command *c = commands; c->noun; c++) {
        int words = *c->verb ? 2 : 1;
        if (argc > words && !strcmp(c->noun, argv[1]) && (words == 1 || !strcmp(c->verb, argv[2])))
            return command_run(c, argc - words, argv + words);
    }
    return no_verb(argv[1], argc > 2 ? argv[2] : NULL);
}
