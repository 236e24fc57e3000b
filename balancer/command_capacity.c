#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/capacity.h"
#include "balancer/command.h"
#include "balancer/model.h"
#include "balancer/rules.h"
#include "node/base/err.h"
#include "node/base/units.h"

enum key { KEY_LOSE = 256, KEY_SHAPE, KEY_JSON };
enum { LOSE_MAX = 16 };

struct arguments {
    struct command_files files;
    int lose;
    const char *shape;
    bool json;
};

static const struct argp_option options[] = {
    {"lose", KEY_LOSE, "K", 0, "how many nodes may be lost at once (default 1)", 0},
    {"shape", KEY_SHAPE, "VCPUS:MEMORY:DISK", 0, "how many guests like this fit, for example 4:16G:100G", 0},
    {"json", KEY_JSON, NULL, 0, "print JSON", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->files;
        break;
    case KEY_LOSE:
        a->lose = (int)command_number(arg, state, "lose", LOSE_MAX);
        break;
    case KEY_SHAPE:
        a->shape = arg;
        break;
    case KEY_JSON:
        a->json = true;
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int command_parse_shape(const char *text, struct model_guest *shape, struct err *err)
{
    char copy[128];
    const char *parts[3] = {copy, NULL, NULL};
    uint64_t memory, disk = 0;
    snprintf(copy, sizeof copy, "%s", text);
    int count = 1;
    for (char *c = copy; *c && count < 3; c++)
        if (*c == ':') {
            *c = 0;
            parts[count++] = c + 1;
        }
    char *end;
    *shape =
        (struct model_guest){.movable = true, .balanced = true, .measured = true, .moved_ago_s = -1, .came_from = -1};
    shape->vcpus = strtod(parts[0], &end);
    if (*end || end == parts[0] || !(shape->vcpus > 0 && shape->vcpus < 10000) || count < 2 ||
        units_parse_size(parts[1], &memory, NULL) < 0 || memory < 1048576 ||
        (count > 2 && units_parse_size(parts[2], &disk, NULL) < 0))
        return err_set(err, 22, "--shape '%s': VCPUS:MEMORY or VCPUS:MEMORY:DISK is needed, for example 4:16G:100G",
                       text);
    shape->memory = (double)memory / 1048576;
    shape->disk = (double)disk / 1048576;
    shape->local = disk > 0;
    return 0;
}

int command_add_losses(json_t *answer, const struct model *m, const struct capacity_losses *losses, struct err *err)
{
    json_t *worst = json_array();
    for (int i = 0; i < losses->worst_count; i++)
        json_array_append_new(worst, json_string(model_node_name(m, losses->worst[i])));
    json_t *guest = losses->guest >= 0 ? json_string(model_guest_name(m, losses->guest)) : json_null();
    int rc = json_object_set_new(answer, "exact", json_boolean(losses->exact)) |
             json_object_set_new(answer, "likely", json_integer(losses->likely)) |
             json_object_set_new(answer, "worst", worst) | json_object_set_new(answer, "guest", guest);
    return rc ? err_set(err, ENOMEM, "no memory for an answer") : 0;
}

static void say_losses(const struct model *m, const struct capacity_losses *l, int asked)
{
    printf("nodes that may be lost at once, whichever they are: %d%s\n", l->shown, l->shown > asked ? " or more" : "");
    if (l->likely > l->shown)
        printf(
            "%d are likely: at least one chain of so many losses is survived, but not every set of nodes was tried\n",
            l->likely);
    for (int i = 0; i < l->worst_count; i++)
        printf("%s%s", i ? i + 1 < l->worst_count ? ", " : " and " : "not ", model_node_name(m, l->worst[i]));
    if (l->worst_count)
        printf("%s: guest %s would find no place\n", l->worst_count > 1 ? " together" : "",
               model_guest_name(m, l->guest));
}

static int say_json(const struct arguments *a, const struct model *m, const struct capacity_losses *losses,
                    const struct capacity_fit *fit, struct err *err)
{
    json_t *answer = json_pack("{s:i, s:i}", "nodes_that_may_be_lost", losses->shown, "asked", a->lose);
    int rc = answer ? command_add_losses(answer, m, losses, err) : err_set(err, ENOMEM, "no memory for an answer");
    if (a->shape && rc == 0) {
        json_object_set_new(answer, "fit", json_integer(fit->count));
        json_object_set_new(answer, "fit_and_lose", json_integer(fit->with_loss));
        json_object_set_new(answer, "fit_exact", json_boolean(fit->exact));
        json_object_set_new(answer, "limited_by", json_string(rules_text((enum rule)fit->limited_by)));
    }
    char *text = rc == 0 ? json_dumps(answer, 0) : NULL;
    json_decref(answer);
    if (rc == 0 && !text)
        rc = err_set(err, ENOMEM, "no memory for an answer");
    if (text)
        puts(text);
    free(text);
    return rc;
}

static int answer(void *context, const struct command_cluster *c, const struct policy *policy, struct err *err)
{
    const struct arguments *a = context;
    const struct model *m = c->model;
    struct capacity_losses losses;
    struct capacity_fit fit = {0};
    struct model_guest shape;
    int rc = capacity_losses(m, policy, a->lose > 0 ? a->lose + 1 : 1, CAPACITY_WORK_ASKED, &losses);
    if (rc < 0)
        return err_set(err, -rc, "no memory to try losses");
    if (a->shape) {
        rc = command_parse_shape(a->shape, &shape, err);
        rc = rc == 0 ? capacity_fits(m, policy, &shape, a->lose, &fit, err) : rc;
        if (rc < 0)
            return rc;
    }
    if (a->json)
        return say_json(a, m, &losses, &fit, err);
    say_losses(m, &losses, a->lose);
    if (a->shape)
        printf("guests of %s that fit: %d, of them %d so that %d lost nodes are survived%s; then: %s\n", a->shape,
               fit.count, fit.with_loss, a->lose, fit.exact ? "" : " (likely: not every set of nodes was tried)",
               rules_text((enum rule)fit.limited_by));
    return 0;
}

int command_capacity(int argc, char **argv)
{
    struct arguments a = {.lose = 1};
    const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Says how many nodes may be lost now, which ones may not, and how many guests of a shape still fit.",
        .children = command_files_argp};
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    return command_run(&a.files, answer, &a);
}
