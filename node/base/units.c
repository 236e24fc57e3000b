#include "node/base/units.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"

/* A decimal number with an optional fraction, without the signs, exponents, hex and locale of strtod.
 * value is scaled by `scale`, which the caller learns only after the suffix: whole and fraction come apart. */
struct number {
    uint64_t whole;
    uint64_t fraction; /* in 1/10^9 */
};

static int parse_number(const char **text, struct number *n)
{
    const char *p = *text;
    *n = (struct number){0};
    if (!isdigit((unsigned char)*p))
        return -EINVAL;
    for (; isdigit((unsigned char)*p); p++)
        if (__builtin_mul_overflow(n->whole, 10, &n->whole) ||
            __builtin_add_overflow(n->whole, (uint64_t)(*p - '0'), &n->whole))
            return -ERANGE;
    if (*p == '.') {
        uint64_t unit = 100000000;
        if (!isdigit((unsigned char)*++p))
            return -EINVAL;
        for (; isdigit((unsigned char)*p); p++, unit /= 10)
            n->fraction += (uint64_t)(*p - '0') * unit;
    }
    *text = p;
    return 0;
}

static int scale_number(const struct number *n, uint64_t unit, uint64_t *value)
{
    __uint128_t v = (__uint128_t)n->whole * unit + (__uint128_t)n->fraction * unit / 1000000000;
    if (v > INT64_MAX)
        return -ERANGE;
    *value = (uint64_t)v;
    return 0;
}

int units_parse_size(const char *text, uint64_t *bytes, struct err *err)
{
    static const char suffixes[] = "KMGTPE";
    const char *p = text;
    struct number n;
    int rc = parse_number(&p, &n);
    uint64_t unit = 1;
    if (!rc && *p && strcmp(p, "B") != 0) {
        const char *s = strchr(suffixes, toupper((unsigned char)*p));
        if (s) {
            unit = UINT64_C(1) << (10 * (s - suffixes + 1));
            p++;
        }
        if (!s || (*p && strcmp(p, "B") != 0 && strcmp(p, "iB") != 0))
            rc = -EINVAL;
    }
    if (!rc && unit == 1 && n.fraction)
        rc = -EINVAL;
    if (!rc)
        rc = scale_number(&n, unit, bytes);
    if (rc == -ERANGE)
        return err_set(err, ERANGE, "size '%s' is over 2^63-1 bytes", text);
    if (rc)
        return err_set(err, EINVAL, "'%s' is not a size: write bytes, or a number with K, M, G, T, P or E", text);
    return 0;
}

int units_parse_duration(const char *text, uint64_t *ns, struct err *err)
{
    static const struct {
        const char *suffix;
        uint64_t ns;
    } units[] = {{"", 1000000000},  {"ns", 1},           {"us", 1000},         {"ms", 1000000},
                 {"s", 1000000000}, {"m", 60000000000u}, {"h", 3600000000000u}};
    const char *p = text;
    struct number n;
    int rc = parse_number(&p, &n);
    if (!rc) {
        rc = -EINVAL;
        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
            if (strcmp(p, units[i].suffix) == 0)
                rc = scale_number(&n, units[i].ns, ns);
    }
    if (rc == -ERANGE)
        return err_set(err, ERANGE, "duration '%s' is too long", text);
    if (rc)
        return err_set(err, EINVAL, "'%s' is not a duration: write a number with ns, us, ms, s, m or h", text);
    return 0;
}

char *units_format_size(uint64_t bytes, char *buffer, size_t len)
{
    static const char *const names[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t i = 0;
    double v = (double)bytes;
    while (v >= 1024 && i + 1 < sizeof names / sizeof *names) {
        v /= 1024;
        i++;
    }
    if (i == 0 || v == (double)(uint64_t)v)
        snprintf(buffer, len, "%llu %s", (unsigned long long)v, names[i]);
    else
        snprintf(buffer, len, "%.1f %s", v, names[i]);
    return buffer;
}
