#include "node/cli/manual.h"

#include <stdio.h>

#include "node/cli/command.h"

/* As text that is text: no letter of it is a request or an escape of roff. */
static void put(const char *text)
{
    if (*text == '.' || *text == '\'')
        printf("\\&");
    for (; *text; text++)
        if (*text == '\\')
            printf("\\e");
        else if (*text == '-')
            printf("\\-");
        else
            putchar(*text);
}

static void put_option(const struct command_option *o)
{
    printf(".TP\n\\fB\\-\\-");
    put(o->name);
    printf("\\fR");
    if (o->argument) {
        printf("=\\fI");
        put(o->argument);
        printf("\\fR");
    }
    printf("\n");
    put(o->help);
    printf("\n");
}

static void put_command(const struct command *c)
{
    printf(".SS drover ");
    put(c->noun);
    printf("%s", *c->verb ? " " : "");
    put(c->verb);
    printf("%s", *c->names ? " " : "");
    put(c->names);
    printf("\n");
    put(c->help);
    printf("\n");
    for (const struct command_option *o = c->options; o && o->name; o++)
        put_option(o);
}

static const char before[] =
    ".SH NAME\ndrover \\- ask something of a cluster, or change it\n"
    ".SH SYNOPSIS\n.B drover\n.I NOUN VERB\n[\\fINAME\\fR] [\\fIOPTION\\fR...]\n"
    ".SH DESCRIPTION\nEach command is a request to the API of a \\fBdroverd\\fR(8), which any node of "
    "the cluster answers alike.\nSizes are bytes or text such as 20G.\n"
    ".SH COMMANDS\n";
static const char after[] =
    ".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\nrefused or failed; the message names the field and what would be right\n"
    ".TP\n2\na bad command line\n.TP\n3\nno answer, or no change can be made now: the store is away, the audit log "
    "takes no lines\n.TP\n4\nthere is no such object\n"
    ".TP\n5\n\\fB\\-\\-wait\\fR took too long; the task goes on\n"
    ".SH ENVIRONMENT\n.TP\nDROVER_API, DROVER_CA, DROVER_TOKEN_FILE\nas \\fB\\-\\-api\\fR, \\fB\\-\\-ca\\fR and "
    "\\fB\\-\\-token\\-file\\fR\n"
    ".SH SEE ALSO\n\\fBdroverd\\fR(8), \\fBdrover\\-guest\\fR(1), \\fBdrover\\-nbd\\fR(1), \\fBdrover\\-img\\fR(1)\n";

void manual_print(const char *version)
{
    printf(".TH DROVER 1 \"\" \"drover %s\" \"Drover\"\n%s", version, before);
    for (const struct command *c = commands; c->noun; c++)
        put_command(c);
    printf(".SH OPTIONS\nof every command:\n");
    for (const struct command_option *o = command_common_options; o->name; o++)
        put_option(o);
    printf("%s", after);
}
