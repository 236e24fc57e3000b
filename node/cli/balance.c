#include "node/cli/balance.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "node/base/err.h"
#include "node/cli/client.h"
#include "node/cli/command.h"
#include "node/cli/table.h"

enum { EXIT_COMMAND_LINE = 2, EXIT_NO_ANSWER = 3, WORDS_MAX = 64, PATH_MAX_BYTES = 512 };

const struct command_option balance_plan_options[] = {
    {"explain", NULL, COMMAND_FLAG, "explain", NULL, "say of every guest why it moves or stays"},
    {"why", "GUEST", COMMAND_TEXT, "why", NULL, "say of this guest why it would move or stay now"},
    {"policy", "FILE", COMMAND_FILE, "policy", NULL, "what would be planned now under this policy"},
    {"price", "FACTOR", COMMAND_TEXT, "price", NULL, "what would be planned if moves cost so many times as much (1)"},
    {"budget", "TIME", COMMAND_TEXT, "budget", NULL, "what would be planned now, with so much time to search (5s)"},
    {"frontier", NULL, COMMAND_FLAG, "frontier", NULL, "what fewer and more moves would bring, each with its --price"},
    {"apply", NULL, COMMAND_FLAG, "apply", NULL, "have it carried out"},
    {"part", "PERCENT", COMMAND_INT, "part", NULL, "with --apply: as few of its moves as bring so much of the gain"},
    {.name = NULL},
};

const struct command_option balance_apply_options[] = {
    {"part", "PERCENT", COMMAND_INT, "?part", NULL, "as few of its moves as bring so much of the gain (90)"},
    {.name = NULL},
};

const struct command_option balance_consolidate_options[] = {
    {"apply", NULL, COMMAND_FLAG, "apply", NULL, "have those that can sleep emptied, and drained as they become empty"},
    {.name = NULL},
};

const struct command_option balance_mode_options[] = {
    {"group", "GROUP", COMMAND_TEXT, "group", NULL,
     "only this group of guests, or guest/NAME, node/NAME, rack/NAME, site/NAME; `default` as the mode takes it away"},
    {.name = NULL},
};

/* ---- the plan ---- */

/* Every move as a line, with its wave. */
static json_t *lines_of(const json_t *waves)
{
    json_t *lines = json_array(), *wave, *move;
    size_t w, i;
    json_array_foreach (waves, w, wave)
        json_array_foreach (wave, i, move) {
            json_t *line = json_deep_copy(move);
            json_object_set_new(line, "wave", json_integer((json_int_t)w + 1));
            json_object_set_new(line, "gain", json_sprintf("%.4f", json_number_value(json_object_get(line, "gain"))));
            json_object_set_new(line, "seconds",
                                json_sprintf("%.1f", json_number_value(json_object_get(line, "seconds"))));
            json_object_set_new(line, "downtime",
                                json_sprintf("%.3f", json_number_value(json_object_get(line, "downtime"))));
            json_object_set_new(line, "bytes",
                                json_integer((json_int_t)json_number_value(json_object_get(line, "bytes"))));
            json_array_append_new(lines, line);
        }
    return lines;
}

/* What it leaves to people. */
static void print_advice_beside(const json_t *advice, bool header)
{
    static const struct command_column columns[] = {
        {"ADVISED", "guest", COLUMN_TEXT, NULL},
        {"FROM", "from", COLUMN_TEXT, NULL},
        {"TO", "to", COLUMN_TEXT, NULL},
        {.title = NULL},
    };
    if (!advice)
        return;
    printf("\nonly advised, for afterwards: %s\n\n", json_string_value(json_object_get(advice, "summary")));
    table_print(json_object_get(advice, "moves"), columns, header);
}

static const struct command_column plan_columns[] = {
    {"WAVE", "wave", COLUMN_TEXT, NULL},         {"GUEST", "guest", COLUMN_TEXT, NULL},
    {"FROM", "from", COLUMN_TEXT, NULL},         {"TO", "to", COLUMN_TEXT, NULL},
    {"GAIN", "gain", COLUMN_TEXT, NULL},         {"FOR", "for", COLUMN_TEXT, NULL},
    {"SECONDS", "seconds", COLUMN_TEXT, NULL},   {"BYTES", "bytes", COLUMN_SIZE, NULL},
    {"DOWNTIME", "downtime", COLUMN_TEXT, NULL}, {.title = NULL},
};

/* usual: if it is not said, as an older balancer does not. */
static double number_in(const json_t *object, const char *key, double usual)
{
    const json_t *member = json_object_get(object, key);
    return member ? json_number_value(member) : usual;
}

/* How many moves bring which part of the gain, and the options by which they are to be had. */
static void print_frontier(const json_t *frontier, bool header)
{
    static const struct command_column columns[] = {
        {"GAIN", "gain", COLUMN_TEXT, NULL},       {"MOVES", "moves", COLUMN_TEXT, NULL},
        {"BYTES", "bytes", COLUMN_SIZE, NULL},     {"SECONDS", "seconds", COLUMN_TEXT, NULL},
        {"OPTIONS", "options", COLUMN_TEXT, NULL}, {.title = NULL},
    };
    json_t *points = json_array(), *point;
    size_t i;
    json_array_foreach (frontier, i, point) {
        char price[32] = "", part[32] = "";
        if (number_in(point, "price", 1) != 1)
            snprintf(price, sizeof price, "--price %g ", number_in(point, "price", 1));
        if (number_in(point, "part", 100) < 100)
            snprintf(part, sizeof part, "--part %.0f", number_in(point, "part", 100));
        json_array_append_new(points, json_pack("{s:o, s:O, s:I, s:o, s:o}", "gain",
                                                json_sprintf("%.0f %%", 100 * number_in(point, "gain", 0)), "moves",
                                                json_object_get(point, "moves"), "bytes",
                                                (json_int_t)number_in(point, "bytes", 0), "seconds",
                                                json_sprintf("%.0f", number_in(point, "seconds", 0)), "options",
                                                json_sprintf("%s%s", price, part)));
    }
    printf("\n");
    table_print(points, columns, header);
    json_decref(points);
}

static void print_plan(const json_t *plan, bool explain, bool header)
{
    const json_t *spec = json_object_get(plan, "spec");
    const char *guest, *text = json_string_value(json_object_get(spec, "reason"));
    json_t *lines = lines_of(json_object_get(spec, "waves")), *reason;
    printf("plan %s is %s%s%s\n%s\n\n", json_string_value(json_object_get(plan, "name")),
           json_string_value(json_object_get(spec, "phase")), text && *text ? ": " : "", text ? text : "",
           json_string_value(json_object_get(spec, "summary")));
    table_print(lines, plan_columns, header);
    if (json_array_size(lines) > 1)
        print_frontier(json_object_get(spec, "frontier"), header);
    json_decref(lines);
    print_advice_beside(json_object_get(spec, "advice"), header);
    if (!explain)
        return;
    printf("\n");
    json_object_foreach (json_object_get(spec, "reasons"), guest, reason)
        printf("%s\n", json_string_value(reason));
}

static int ask_plan(struct client *client, const struct command_common *common, const json_t *asked);

static int show_plan(struct client *client, const struct command_common *common, bool explain)
{
    char path[PATH_MAX_BYTES] = "/v1/plans/", name[PATH_MAX_BYTES - 32];
    int rc = 0;
    json_t *status = command_get(client, "/v1/balance", &rc);
    const char *wanted = json_string_value(json_object_get(status, "plan"));
    const char *summary = json_string_value(json_object_get(status, "summary"));
    json_t *plan = NULL;
    if (wanted) {
        client_escape(wanted, name, sizeof name);
        snprintf(path + strlen(path), sizeof path - strlen(path), "%s", name);
        plan = command_get(client, path, &rc);
    }
    if (plan && common->json) {
        command_print_json(plan);
    } else if (plan) {
        print_plan(plan, explain, !common->no_header);
    } else if (status && !wanted && explain) {
        json_t *asked = json_pack("{s:b}", "explain", 1);
        rc = ask_plan(client, common, asked); /* at rest everybody has his reasons, too */
        json_decref(asked);
    } else if (status && !wanted) {
        printf(common->json ? "null\n" : "no plan (balancing is '%s')%s%s\n",
               json_string_value(json_object_get(status, "mode")), summary ? ": " : "", summary ? summary : "");
    }
    json_decref(plan);
    json_decref(status);
    return rc;
}

static void print_warnings(const json_t *said)
{
    json_t *line;
    size_t i;
    json_array_foreach (json_object_get(said, "warnings"), i, line)
        fprintf(stderr, "drover: %s\n", json_string_value(line));
}

static void print_shortcomings(const json_t *said)
{
    json_int_t left_out = json_integer_value(json_object_get(said, "left_out"));
    json_int_t stranded = json_integer_value(json_object_get(said, "stranded"));
    if (left_out)
        printf("%lld wanted moves were left out: no order of steps leads there within the rules and limits\n",
               (long long)left_out);
    if (stranded)
        printf("%lld guests find no node that may take them\n", (long long)stranded);
    if (json_is_false(json_object_get(said, "at_rest")))
        printf("the budget ended the search; with more there may be a better plan\n");
}

static void print_what_if(const json_t *said, bool header)
{
    const char *guest;
    json_t *lines = lines_of(json_object_get(said, "waves")), *reason;
    printf("%s\n\n", json_string_value(json_object_get(said, "summary")));
    table_print(lines, plan_columns, header);
    if (json_array_size(json_object_get(said, "frontier")) > 1 || json_array_size(lines) > 1)
        print_frontier(json_object_get(said, "frontier"), header);
    print_shortcomings(said);
    json_object_foreach (json_object_get(said, "reasons"), guest, reason)
        printf("%s%s\n",
               reason == json_object_iter_value(json_object_iter(json_object_get(said, "reasons"))) ? "\n" : "",
               json_string_value(reason));
    json_decref(lines);
}

static void print_reasons(const json_t *said, bool header)
{
    const char *guest;
    json_t *reason;
    (void)header;
    json_object_foreach (json_object_get(said, "reasons"), guest, reason)
        printf("%s\n", json_string_value(reason));
}

static int post(struct client *client, const struct command_common *common, const char *path, const json_t *asked,
                void (*print)(const json_t *said, bool header))
{
    struct client_answer answer = {0};
    struct err err = {0};
    int rc = 0;
    if (client_request(client, "POST", path, asked, NULL, NULL, &answer, &err)) {
        fprintf(stderr, "drover: %s\n", err.text);
        rc = EXIT_NO_ANSWER;
    } else if (answer.status >= 400) {
        rc = command_problem(answer.status, answer.body);
    } else if (common->json) {
        command_print_json(answer.body);
    } else {
        print_warnings(answer.body);
        print(answer.body, !common->no_header);
    }
    client_answer_free(&answer);
    return rc;
}

/* Asked anew, and nothing comes of it. */
static int ask_plan(struct client *client, const struct command_common *common, const json_t *asked)
{
    return post(client, common, "/v1/balance/plan", asked,
                json_object_get(asked, "why") ? print_reasons : print_what_if);
}

static void print_applied(const json_t *plan, bool header)
{
    (void)header;
    printf("%s: %s\n`drover balance history` says what becomes of it\n",
           json_string_value(json_object_get(plan, "name")),
           json_string_value(json_object_get(json_object_get(plan, "spec"), "summary")));
}

/* As it would be carried out. */
static void print_would_be(const json_t *plan, bool header)
{
    print_plan(plan, false, header);
}

static int apply_plan(struct client *client, const struct command_common *common, json_t *asked)
{
    char path[PATH_MAX_BYTES] = "/v1/balance/plan/apply";
    json_object_del(asked, "apply");
    if (common->dry_run)
        client_add_query(path, sizeof path, "dry_run", "true");
    return post(client, common, path, asked, common->dry_run ? print_would_be : print_applied);
}

/* What belongs together, and what does not. False: it is said what is wrong. */
static bool check_asked(json_t *asked)
{
    const char *price = json_string_value(json_object_get(asked, "price")), *wrong = NULL;
    bool apply = json_object_get(asked, "apply");
    char *end = NULL;
    double factor = price ? strtod(price, &end) : 1;
    if (price && (end == price || *end || !(factor > 0)))
        wrong = "--price: a number is needed, such as 4 or 0.25";
    else if (!apply && json_object_get(asked, "part"))
        wrong = "--part goes with --apply (and --dry-run, to see it only); of a plan that is proposed: "
                "`drover balance apply PLAN --part`";
    else if (price && json_object_get(asked, "frontier"))
        wrong = "--frontier is of plans at several prices: leave out --price";
    else if (json_object_get(asked, "why") && (json_object_get(asked, "frontier") || json_object_get(asked, "explain")))
        wrong = "--why is about one guest alone: leave out --frontier and --explain";
    else if (apply &&
             (json_object_get(asked, "frontier") || json_object_get(asked, "explain") || json_object_get(asked, "why")))
        wrong = "--apply carries a plan out: --frontier, --explain and --why are for looking at it first";
    if (wrong)
        fprintf(stderr, "drover: %s\n", wrong);
    else if (price)
        json_object_set_new(asked, "price", json_real(factor));
    return !wrong;
}

int balance_plan(const struct command *command, int argc, char **argv)
{
    struct command_common common;
    json_t *asked;
    command_line(command, argc, argv, &common, &asked);
    bool good = check_asked(asked), apply = json_object_get(asked, "apply");
    struct client *client = good ? command_client(&common) : NULL;
    bool anew = json_object_get(asked, "policy") || json_object_get(asked, "budget") ||
                json_object_get(asked, "price") || json_object_get(asked, "frontier") || json_object_get(asked, "why");
    int rc = !good     ? EXIT_COMMAND_LINE
             : !client ? EXIT_NO_ANSWER
             : apply   ? apply_plan(client, &common, asked)
             : anew    ? ask_plan(client, &common, asked)
                       : show_plan(client, &common, json_is_true(json_object_get(asked, "explain")));
    client_free(client);
    json_decref(asked);
    return rc;
}

/* ---- nodes to sleep and wake ---- */

static void print_advice(const json_t *said, bool header)
{
    static const struct command_column node_columns[] = {
        {"NODE", "name", COLUMN_TEXT, NULL},
        {"VERDICT", "verdict", COLUMN_TEXT, NULL},
        {"REASON", "reason", COLUMN_TEXT, NULL},
        {.title = NULL},
    };
    static const struct command_column move_columns[] = {
        {"WAVE", "wave", COLUMN_TEXT, NULL},
        {"GUEST", "guest", COLUMN_TEXT, NULL},
        {"FROM", "from", COLUMN_TEXT, NULL},
        {"TO", "to", COLUMN_TEXT, NULL},
        {"SECONDS", "seconds", COLUMN_TEXT, NULL},
        {"BYTES", "bytes", COLUMN_SIZE, NULL},
        {.title = NULL},
    };
    json_t *lines = lines_of(json_object_get(said, "waves"));
    printf("%s\n\n", json_string_value(json_object_get(said, "summary")));
    table_print(json_object_get(said, "nodes"), node_columns, header);
    if (json_array_size(lines)) {
        printf("\n");
        table_print(lines, move_columns, header);
    }
    json_decref(lines);
}

static void print_begun(const json_t *plan, bool header)
{
    (void)header;
    const json_t *spec = json_object_get(plan, "spec"), *sleep = json_object_get(spec, "sleep");
    printf("%s: %s:", json_string_value(json_object_get(plan, "name")),
           json_string_value(json_object_get(spec, "summary")));
    for (size_t i = 0; i < json_array_size(sleep); i++)
        printf(" %s", json_string_value(json_array_get(sleep, i)));
    printf("\n`drover balance history` says what becomes of it\n");
}

/* What is advised now is carried out. */
static int begin_sleep(struct client *client, const struct command_common *common)
{
    char path[PATH_MAX_BYTES] = "/v1/balance/consolidation";
    if (common->dry_run)
        client_add_query(path, sizeof path, "dry_run", "true");
    return post(client, common, path, NULL, print_begun);
}

int balance_consolidate(const struct command *command, int argc, char **argv)
{
    struct command_common common;
    json_t *asked;
    command_line(command, argc, argv, &common, &asked);
    struct client *client = command_client(&common);
    int rc = client ? 0 : EXIT_NO_ANSWER;
    if (client && json_is_true(json_object_get(asked, "apply"))) {
        rc = begin_sleep(client, &common);
        client_free(client);
        json_decref(asked);
        return rc;
    }
    json_t *said = client ? command_get(client, "/v1/balance/consolidation", &rc) : NULL;
    if (said && common.json) {
        command_print_json(said);
    } else if (said) {
        print_warnings(said);
        print_advice(said, !common.no_header);
    }
    json_decref(said);
    json_decref(asked);
    client_free(client);
    return rc;
}

/* ---- the policy ---- */

static const struct command_column policy_columns[] = {{"MODE", "spec.mode", COLUMN_TEXT, NULL},
                                                       {"BY", "spec.by", COLUMN_TEXT, NULL},
                                                       {"AT", "spec.at", COLUMN_TEXT, NULL},
                                                       {"POLICY", "spec.text", COLUMN_TEXT, NULL},
                                                       {.title = NULL}};
static const struct command_option change_options[] = {
    {"file", "FILE", COMMAND_FILE, "spec.text", NULL, "the policy, JSON"},
    {"shadow", "FILE", COMMAND_FILE, "spec.shadow", NULL, "a policy that is only looked at; an empty file: none"},
    {"mode", "off|advise|automatic", COMMAND_TEXT, "spec.mode", NULL, "what is done"},
    {"group-mode", "GROUP=off|advise|automatic|default", COMMAND_PAIR, "spec.groups", NULL, "what is done with it"},
    {.name = NULL},
};
static const struct command get_policy = {
    .noun = "balance", .verb = "policy get", .names = "", .help = "The policy as it is, as a file."};
static const struct command change_policy = {.noun = "balance",
                                             .verb = "policy set",
                                             .names = "",
                                             .help = "Another policy, or mode.",
                                             .method = "PATCH",
                                             .path = "/v1/balance/policy",
                                             .options = change_options,
                                             .columns = policy_columns};

/* The request, with the word at `at` as the value of that option. */
static int change(const char *option, int at, int argc, char **argv)
{
    char *words[WORDS_MAX] = {argv[0], (char *)(uintptr_t)option, argv[at]};
    int count = 3;
    for (int i = at + 1; i < argc && count < WORDS_MAX - 1; i++)
        words[count++] = argv[i];
    return command_run(&change_policy, count, words);
}

/* As it was set, so that it can be changed and set again. */
static int print_policy(int argc, char **argv)
{
    struct command_common common;
    int rc = 0;
    command_one_name(&get_policy, argc, argv, &common);
    struct client *client = command_client(&common);
    json_t *policy = client ? command_get(client, "/v1/balance/policy", &rc) : NULL;
    const char *text = json_string_value(json_object_get(json_object_get(policy, "spec"), "text"));
    if (policy && common.json)
        command_print_json(policy);
    else if (policy)
        printf("%s\n", text ? text : "{}");
    json_decref(policy);
    client_free(client);
    return client ? rc : EXIT_NO_ANSWER;
}

int balance_policy(const struct command *command, int argc, char **argv)
{
    struct command_common common;
    if (argc > 1 && !strcmp(argv[1], "get"))
        return print_policy(argc - 1, argv + 1);
    if (argc > 3 && !strcmp(argv[1], "set") && !strcmp(argv[2], "--shadow"))
        return change("--shadow", 3, argc, argv);
    if (argc > 2 && !strcmp(argv[1], "set"))
        return change("--file", 2, argc, argv);
    command_one_name(command, argc, argv, &common); /* --help, or a complaint */
    fprintf(stderr, "drover: write `drover balance policy get` or `drover balance policy set [--shadow] FILE`\n");
    return 2;
}

/* As a pair, GROUP=MODE; the words at `at`, and behind it if `two`, are not passed on. */
static int change_group(const char *group, int at, int two, int argc, char **argv)
{
    char pair[PATH_MAX_BYTES], *words[WORDS_MAX] = {argv[0], (char *)(uintptr_t) "--group-mode", pair};
    int count = 3;
    if (snprintf(pair, sizeof pair, "%s=%s", group, argv[1]) >= (int)sizeof pair || !*group || strchr(group, '=')) {
        fprintf(stderr, "drover: --group: '%.100s' is no group\n", group);
        return 2;
    }
    for (int i = 2; i < argc && count < WORDS_MAX - 1; i++)
        if (i < at || i > at + two)
            words[count++] = argv[i];
    return command_run(&change_policy, count, words);
}

int balance_mode(const struct command *command, int argc, char **argv)
{
    struct command_common common;
    if (argc > 1 && argv[1][0] != '-') {
        for (int i = 2; i < argc; i++)
            if (!strncmp(argv[i], "--group=", 8))
                return change_group(argv[i] + 8, i, 0, argc, argv);
            else if (!strcmp(argv[i], "--group") && i + 1 < argc)
                return change_group(argv[i + 1], i, 1, argc, argv);
        return change("--mode", 1, argc, argv);
    }
    command_one_name(command, argc, argv, &common); /* --help, or a complaint */
    return 2;
}
