#include "nbd/img_arguments.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/units.h"

enum { LIST_MAX_BYTES = 320 };

static void list_add(char *list, size_t size, const char *lead, const char *word)
{
    size_t n = strlen(list);
    snprintf(list + n, size - n, "%s%s%s", n ? ", " : "", lead, word);
}

/* ---- values ---- */

error_t img_arguments_size(struct img_arguments *input, const char *option, const char *value, uint64_t *bytes)
{
    if (units_parse_size(value, bytes, &input->err) == 0)
        return 0;
    err_prefix(&input->err, "%s", option);
    return EINVAL;
}

error_t img_arguments_number(struct img_arguments *input, const char *option, const char *value, uint64_t min,
                             uint64_t max, uint64_t *number)
{
    char *end = NULL;
    errno = 0;
    unsigned long long n = isdigit((unsigned char)*value) ? strtoull(value, &end, 10) : 0;
    if (!end || *end || errno || n < min || n > max) {
        err_set(&input->err, EINVAL, "%s: '%.40s' is not a number from %llu to %llu", option, value,
                (unsigned long long)min, (unsigned long long)max);
        return EINVAL;
    }
    *number = n;
    return 0;
}

error_t img_arguments_choice(struct img_arguments *input, const char *option, const char *value,
                             const char *const *choices, int *choice)
{
    char known[LIST_MAX_BYTES] = "";
    for (int i = 0; choices[i]; i++) {
        if (strcmp(choices[i], value) == 0) {
            *choice = i;
            return 0;
        }
        list_add(known, sizeof known, "", choices[i]);
    }
    err_set(&input->err, EINVAL, "%s: '%.40s' must be one of: %s", option, value, known);
    return EINVAL;
}

/* ---- places ---- */

static unsigned places_wanted(const char *args_doc)
{
    unsigned n = *args_doc != 0;
    for (const char *p = args_doc; *p; p++)
        n += *p == ' ';
    return n;
}

error_t img_arguments_place(struct img_arguments *input, const char *value)
{
    const char *doc = input->argp->args_doc;
    if (input->place_count == places_wanted(doc)) {
        err_set(&input->err, EINVAL, "'%.80s' is one too many: only %s is wanted", value, doc);
        return EINVAL;
    }
    input->places[input->place_count++] = value;
    return 0;
}

/* ---- options ---- */

static const struct argp_option *option_of(const struct argp *argp, const char *text, size_t len)
{
    for (const struct argp_option *o = argp->options; o->name || o->key; o++)
        if (o->name && strlen(o->name) == len && memcmp(o->name, text, len) == 0)
            return o;
    return NULL;
}

/* getopt refused text; find out why, because it does not tell. */
static int refused(const struct argp *argp, const char *text, struct err *err)
{
    char known[LIST_MAX_BYTES] = "";
    const char *name = text + strspn(text, "-");
    size_t len = strcspn(name, "=");
    const struct argp_option *o = strncmp(text, "--", 2) == 0 ? option_of(argp, name, len) : NULL;
    if (o && o->arg)
        return err_set(err, EINVAL, "%.60s needs a value: --%s=%s", text, o->name, o->arg);
    if (o && name[len] == '=')
        return err_set(err, EINVAL, "--%s takes no value", o->name);
    for (o = argp->options; o->name || o->key; o++)
        if (o->name && !(o->flags & OPTION_HIDDEN))
            list_add(known, sizeof known, "--", o->name);
    list_add(known, sizeof known, "--", "help");
    return err_set(err, EINVAL, "there is no option %.60s (there are: %s)", text, known);
}

static error_t parse_one(int key, char *value, struct argp_state *state)
{
    struct img_arguments *input = state->input;
    if (key == ARGP_KEY_ARG)
        return img_arguments_place(input, value);
    if (key == ARGP_KEY_ERROR) /* the only place where argp tells how far it came */
        input->refused_next = state->next;
    return input->argp->parser(key, value, state);
}

int img_arguments_parse(const struct argp *argp, int argc, char **argv, struct img_arguments *input)
{
    struct argp outer = *argp;
    outer.parser = parse_one;
    input->argp = argp;
    if (argp_parse(&outer, argc, argv, ARGP_NO_ERRS | ARGP_NO_HELP, NULL, input)) {
        if (!input->err.code)
            refused(argp, argv[input->refused_next - 1], &input->err);
        return -EINVAL;
    }
    if (input->place_count < places_wanted(argp->args_doc))
        return err_set(&input->err, EINVAL, "%s: %s", argp->args_doc,
                       input->place_count ? "the second one is missing" : "nothing was given");
    return 0;
}
