#include "node/cli/completion.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "node/cli/command.h"

static bool is_first(const struct command *command)
{
    for (const struct command *c = commands; c != command; c++)
        if (!strcmp(c->noun, command->noun))
            return false;
    return true;
}

static void print_verbs(void)
{
    for (const struct command *noun = commands; noun->noun; noun++) {
        if (!is_first(noun))
            continue;
        printf("        %s) words=\"", noun->noun);
        for (const struct command *c = commands; c->noun; c++)
            if (!strcmp(c->noun, noun->noun))
                printf("%s ", c->verb);
        printf("\" ;;\n");
    }
}

static void print_options(void)
{
    for (const struct command *c = commands; c->noun; c++) {
        printf("        \"%s %s\") words=\"--help", c->noun, c->verb);
        for (const struct command_option *o = command_common_options; o->name; o++)
            printf(" --%s", o->name);
        for (const struct command_option *o = c->options; o && o->name; o++)
            printf(" --%s", o->name);
        printf("\" ;;\n");
    }
}

int completion_print(const char *shell)
{
    if (strcmp(shell, "bash")) {
        fprintf(stderr, "drover: there is a completion for bash, not for '%s'\n", shell);
        return 2;
    }
    printf("# source <(drover completion bash)\n"
           "_drover() {\n"
           "    local words=\"\" current=${COMP_WORDS[COMP_CWORD]}\n"
           "    if [ $COMP_CWORD = 1 ]; then words=\"");
    for (const struct command *c = commands; c->noun; c++)
        if (is_first(c))
            printf("%s ", c->noun);
    printf("\"\n    elif [ $COMP_CWORD = 2 ]; then case ${COMP_WORDS[1]} in\n");
    print_verbs();
    printf("        esac\n    elif [[ $current == -* ]]; then case \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n");
    print_options();
    printf("        esac\n"
           "    else words=$(drover \"${COMP_WORDS[1]}\" list --no-header 2>/dev/null | cut -d' ' -f1)\n"
           "    fi\n"
           "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
           "}\n"
           "complete -F _drover drover\n");
    return 0;
}
