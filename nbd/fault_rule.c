#include "nbd/fault_rule.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "node/base/err.h"
#include "node/base/units.h"

static const struct {
    const char *name;
    int value;
} errors[] = {{"EIO", EIO},           {"ENOSPC", ENOSPC},         {"EINVAL", EINVAL},
              {"EPERM", EPERM},       {"EACCES", EACCES},         {"ENOMEM", ENOMEM},
              {"EROFS", EROFS},       {"ENXIO", ENXIO},           {"ENODEV", ENODEV},
              {"EBUSY", EBUSY},       {"EAGAIN", EAGAIN},         {"EDQUOT", EDQUOT},
              {"EFBIG", EFBIG},       {"EOVERFLOW", EOVERFLOW},   {"EOPNOTSUPP", EOPNOTSUPP},
              {"ESTALE", ESTALE},     {"ETIMEDOUT", ETIMEDOUT},   {"ESHUTDOWN", ESHUTDOWN},
              {"ENOTCONN", ENOTCONN}, {"ECONNRESET", ECONNRESET}, {"EILSEQ", EILSEQ}};

enum { ERROR_COUNT = sizeof errors / sizeof *errors, LIST_MAX = 256 };

static void list_add(char *list, const char *word)
{
    size_t n = strlen(list);
    snprintf(list + n, LIST_MAX - n, "%s%s", n ? ", " : "", word);
}

/* ---- fields ---- */

static int parse_op(const json_t *value, struct fault_rule *rule, struct err *err)
{
    const char *name = json_string_value(value);
    char known[LIST_MAX] = "any";
    rule->any_op = name && strcmp(name, "any") == 0;
    if (rule->any_op)
        return 0;
    for (int op = 0; op < BLK_OP_COUNT; op++) {
        if (name && strcmp(name, blk_op_name((enum blk_op)op)) == 0) {
            rule->op = (enum blk_op)op;
            return 0;
        }
        list_add(known, blk_op_name((enum blk_op)op));
    }
    return err_set(err, EINVAL, "op must be one of: %s", known);
}

static int parse_error(const json_t *value, struct fault_rule *rule, struct err *err)
{
    const char *name = json_string_value(value);
    char known[LIST_MAX] = "";
    for (int i = 0; i < ERROR_COUNT; i++) {
        if (name && strcmp(name, errors[i].name) == 0) {
            rule->error = -errors[i].value;
            return 0;
        }
        list_add(known, errors[i].name);
    }
    return err_set(err, EINVAL, "error must be one of: %s", known);
}

static int parse_number(const char *field, const json_t *value, uint64_t *out, struct err *err)
{
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *out = (uint64_t)json_integer_value(value);
        return 0;
    }
    if (!json_is_string(value))
        return err_set(err, EINVAL, "%s must be a number, not negative, or a text such as \"64K\"", field);
    int rc = units_parse_size(json_string_value(value), out, err);
    return rc ? err_prefix(err, "%s", field) : 0;
}

static int parse_delay(const json_t *value, struct fault_rule *rule, struct err *err)
{
    if (!json_is_string(value))
        return err_set(err, EINVAL, "delay must be a text with a unit, as in \"10ms\"");
    int rc = units_parse_duration(json_string_value(value), &rule->delay_ns, err);
    if (rc)
        return err_prefix(err, "delay");
    return rule->delay_ns ? 0 : err_set(err, EINVAL, "delay must be longer than 0");
}

static int parse_probability(const json_t *value, struct fault_rule *rule, struct err *err)
{
    double p = json_number_value(value);
    if (!json_is_number(value) || !(p >= 0 && p <= 1))
        return err_set(err, EINVAL, "probability must be a number from 0 to 1");
    rule->threshold = (uint64_t)(p * 4294967296.0);
    return 0;
}

static int parse_count(const json_t *value, struct fault_rule *rule, struct err *err)
{
    int rc = parse_number("count", value, &rule->count, err);
    if (!rc && !rule->count)
        rc = err_set(err, EINVAL, "count must be at least 1: leave the rule out if it shall never fire");
    return rc;
}

static int parse_field(const char *key, const json_t *value, struct fault_rule *rule, struct err *err)
{
    if (strcmp(key, "op") == 0)
        return parse_op(value, rule, err);
    if (strcmp(key, "error") == 0)
        return parse_error(value, rule, err);
    if (strcmp(key, "delay") == 0)
        return parse_delay(value, rule, err);
    if (strcmp(key, "probability") == 0)
        return parse_probability(value, rule, err);
    if (strcmp(key, "count") == 0)
        return parse_count(value, rule, err);
    if (strcmp(key, "after") == 0)
        return parse_number(key, value, &rule->after, err);
    if (strcmp(key, "torn") == 0) {
        rule->tears = true;
        return parse_number(key, value, &rule->torn_bytes, err);
    }
    rule->ranged = true;
    if (strcmp(key, "offset") == 0)
        return parse_number(key, value, &rule->offset, err);
    if (strcmp(key, "length") == 0)
        return parse_number(key, value, &rule->length_bytes, err);
    return err_set(err, EINVAL,
                   "unknown field '%.40s' (there are: op, offset, length, after, count, probability, error, "
                   "delay, torn)",
                   key);
}

/* What no field can know alone. */
static int check_whole(struct fault_rule *rule, struct err *err)
{
    if (!rule->error && !rule->delay_ns && !rule->tears)
        return err_set(err, EINVAL, "does nothing: give error, delay or torn");
    if (rule->ranged && !rule->any_op && (rule->op == BLK_FLUSH || rule->op == BLK_RESIZE))
        return err_set(err, EINVAL, "offset, length: a %s has no range: leave them out", blk_op_name(rule->op));
    if (rule->ranged && !rule->length_bytes)
        return err_set(err, EINVAL, "length must be at least 1");
    if (rule->tears && !rule->any_op && rule->op != BLK_WRITE)
        return err_set(err, EINVAL, "torn: only a write can be torn: op must be write");
    if (rule->tears) {
        rule->any_op = false;
        rule->op = BLK_WRITE;
        rule->error = rule->error ? rule->error : -EIO;
    }
    return 0;
}

static int parse_rule(json_t *json, struct fault_rule *rule, struct err *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(json))
        return err_set(err, EINVAL, "must be an object, as in {\"op\":\"read\",\"error\":\"EIO\"}");
    if (!json_object_get(json, "op"))
        return err_set(err, EINVAL, "op is missing (read, write, flush, ..., or any)");
    *rule = (struct fault_rule){.length_bytes = UINT64_MAX, .count = UINT64_MAX, .threshold = UINT64_C(1) << 32};
    json_object_foreach (json, key, value) {
        int rc = parse_field(key, value, rule, err);
        if (rc)
            return rc;
    }
    return check_whole(rule, err);
}

/* ---- dice ---- */

/* A step of splitmix64: a counter by the golden ratio, mixed (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t dice_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* ---- the set ---- */

int fault_rules_parse(const struct json_t *json, uint64_t seed, struct fault_rules *rules, struct err *err)
{
    struct fault_rules fresh = {0};
    size_t count = json_array_size(json);
    if (json && !json_is_array(json))
        return err_set(err, EINVAL, "rules must be an array of objects");
    if (count > FAULT_RULES_MAX)
        return err_set(err, EINVAL, "rules: %zu are too many: at most %d", count, FAULT_RULES_MAX);
    for (; fresh.count < count; fresh.count++) {
        struct fault_rule *rule = &fresh.rule[fresh.count];
        int rc = parse_rule(json_array_get(json, fresh.count), rule, err);
        if (rc)
            return err_prefix(err, "rule %u", fresh.count + 1);
        rule->dice = seed ^ (uint64_t)(fresh.count + 1) << 32;
        rule->dice = dice_next(&rule->dice);
    }
    *rules = fresh;
    return 0;
}

static bool matches(const struct fault_rule *rule, const struct blk_req *req)
{
    if (!rule->any_op && rule->op != req->op)
        return false;
    if (!rule->ranged)
        return true;
    if (req->op == BLK_FLUSH || req->op == BLK_RESIZE)
        return false;
    bool starts_before_end = req->offset < rule->offset || req->offset - rule->offset < rule->length_bytes;
    return starts_before_end && req->offset + req->length_bytes > rule->offset;
}

static bool fires(struct fault_rule *rule)
{
    if (!rule->count)
        return false;
    if (rule->after) {
        rule->after--;
        return false;
    }
    if (dice_next(&rule->dice) >> 32 >= rule->threshold)
        return false;
    if (rule->count != UINT64_MAX)
        rule->count--;
    return true;
}

struct fault_rule *fault_rules_ask(struct fault_rules *rules, const struct blk_req *req)
{
    for (unsigned i = 0; i < rules->count; i++)
        if (matches(&rules->rule[i], req) && fires(&rules->rule[i]))
            return &rules->rule[i];
    return NULL;
}
