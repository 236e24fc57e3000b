#include "balancer/hours.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/forecast.h"

enum { HOUR_S = 3600, DAY_HOURS = 24, DIGITS = 4, VALUE_MAX = 0xffff, TEXT_MAX = 24 + HOURS_KEPT * DIGITS };

static const double HUNDREDTHS = 0.01;

/* ---- the text ---- */

struct row {
    int64_t hour;           /* of the last value */
    int count;              /* of values */
    int values[HOURS_KEPT]; /* -1: nobody measured */
};

/* Of four digits; -1: they are none. Read by hand, because a plan reads those of every guest. */
static int value_of(const char *text)
{
    int value = 0;
    for (int i = 0; i < DIGITS; i++) {
        bool decimal = text[i] >= '0' && text[i] <= '9', letter = text[i] >= 'a' && text[i] <= 'f';
        if (!decimal && !letter)
            return -1;
        value = value << 4 | (decimal ? text[i] - '0' : text[i] - 'a' + 10);
    }
    return value;
}

/* False: it is none. */
static bool row_read(struct row *row, const char *text)
{
    char *end;
    *row = (struct row){0};
    if (!text || *text < '0' || *text > '9')
        return false;
    row->hour = strtoll(text, &end, 10);
    size_t digits = *end == ':' ? strlen(end + 1) : 1;
    if (digits % DIGITS || digits > HOURS_KEPT * DIGITS)
        return false;
    for (const char *at = end + 1; *at; at += DIGITS) {
        int value = value_of(at);
        if (value < 0 && memcmp(at, "----", DIGITS) != 0)
            return false;
        row->values[row->count++] = value;
    }
    return true;
}

static void append(struct row *row, int value)
{
    if (row->count == HOURS_KEPT)
        memmove(row->values, row->values + 1, (size_t)--row->count * sizeof *row->values);
    row->values[row->count++] = value;
    row->hour++;
}

/* Who has been elected before may be behind by some hours, or his clock is: what is there stays then. A row of a day
 * that has not come is of a clock that went wrong; one that ended long ago says nothing any more. */
static void row_add(struct row *row, int64_t hour, int value)
{
    if (!row->count || row->hour > hour + DAY_HOURS || hour - row->hour >= HOURS_KEPT)
        *row = (struct row){.hour = hour - 1};
    while (row->hour < hour - 1)
        append(row, -1);
    if (row->hour < hour)
        append(row, value);
}

static json_t *row_text(const struct row *row)
{
    char text[TEXT_MAX];
    int n = snprintf(text, sizeof text, "%" PRId64 ":", row->hour);
    for (int i = 0; i < row->count; i++)
        n += row->values[i] < 0 ? snprintf(text + n, sizeof text - (size_t)n, "----")
                                : snprintf(text + n, sizeof text - (size_t)n, "%04x", (unsigned)row->values[i]);
    return json_string(text);
}

/* ---- looking ---- */

static void table_of(const char *guest, char table[HOURS_TABLE_BYTES])
{
    snprintf(table, HOURS_TABLE_BYTES, "%.2s", guest);
}

/* One of ours: other keys are left as they are. */
static bool is_table(const char *name)
{
    size_t len = strlen(name);
    return len && len < HOURS_TABLE_BYTES && isalnum((unsigned char)name[0]) &&
           (len == 1 || isalnum((unsigned char)name[1]));
}

static json_t *state_of(const json_t *objects, const char *table)
{
    return json_object_get(json_object_get(json_object_get(objects, "hours"), table), "state");
}

static json_t *inner(json_t *outer, const char *key)
{
    json_t *object = json_object_get(outer, key);
    if (!object && !json_object_set_new(outer, key, json_object()))
        object = json_object_get(outer, key);
    return object;
}

static void add(struct hours *h, const char *guest, double value)
{
    char table[HOURS_TABLE_BYTES];
    table_of(guest, table);
    if (!is_table(table))
        return;
    json_t *sums = inner(h->sums, table), *sum = json_object_get(sums, guest);
    if (!sum) {
        json_object_set_new(sums, guest, json_pack("[f, i]", value, 1));
        return;
    }
    json_t *total = json_array_get(sum, 0), *count = json_array_get(sum, 1);
    json_real_set(total, json_real_value(total) + value);
    json_integer_set(count, json_integer_value(count) + 1);
}

static double percentile_of(const json_t *use, const char *what)
{
    return json_number_value(json_array_get(json_object_get(use, what), 0));
}

static void look(struct hours *h, json_t *objects, double clock_s)
{
    const char *id, *guest;
    json_t *load, *use;
    json_object_foreach (json_object_get(objects, "load"), id, load) {
        if (clock_s - json_number_value(json_object_get(load, "seen")) > HOURS_SAMPLE_S)
            continue;
        json_object_foreach (json_object_get(json_object_get(load, "state"), "guests"), guest, use)
            if (json_object_get(use, "cpu"))
                add(h, guest, percentile_of(use, "cpu") + percentile_of(use, "steal"));
    }
}

/* Every table is looked at once an hour: guests that are gone are left out of it. */
static void end_hour(struct hours *h, json_t *objects)
{
    const char *table;
    json_t *entry;
    json_decref(h->due);
    h->due = h->sums;
    h->due_hour = h->hour;
    h->sums = json_object();
    json_object_foreach (json_object_get(objects, "hours"), table, entry)
        if (is_table(table))
            inner(h->due, table);
}

/* Somebody else was elected for hours, or the clock was set: what was being gathered is of no hour that is known. */
static void begin_anew(struct hours *h)
{
    json_decref(h->sums);
    json_decref(h->due);
    h->sums = json_object();
    h->due = NULL;
}

void hours_look(struct hours *h, json_t *objects, const struct snapshot_time *now)
{
    int64_t hour = now->wall_s / HOUR_S;
    if (h->sums && hour == h->hour + 1)
        end_hour(h, objects);
    else if (!h->sums || hour != h->hour)
        begin_anew(h);
    h->hour = hour;
    if (h->sampled_s && now->clock_s - h->sampled_s < HOURS_SAMPLE_S)
        return;
    h->sampled_s = now->clock_s;
    look(h, objects, now->clock_s);
}

/* ---- writing ---- */

static int mean_of(const json_t *sum)
{
    json_int_t count = json_integer_value(json_array_get(sum, 1));
    double mean = count >= HOURS_SAMPLES_LEAST ? json_real_value(json_array_get(sum, 0)) / (double)count : -1;
    return mean > VALUE_MAX ? VALUE_MAX : mean < 0 ? -1 : (int)(mean + 0.5);
}

static json_t *make_table(const struct hours *h, json_t *objects, const char *table, json_t *sums)
{
    json_t *made = json_object(), *old = state_of(objects, table), *text, *sum;
    const json_t *guests = json_object_get(objects, "guest");
    const char *id;
    json_object_foreach (old, id, text)
        if (json_object_get(guests, id))
            json_object_set(made, id, text);
    json_object_foreach (sums, id, sum) {
        struct row row;
        int mean = mean_of(sum);
        if (mean < 0 || !json_object_get(guests, id))
            continue;
        if (!row_read(&row, json_string_value(json_object_get(old, id))))
            row = (struct row){0};
        row_add(&row, h->due_hour, mean);
        json_object_set_new(made, id, row_text(&row));
    }
    return made;
}

json_t *hours_due(struct hours *h, json_t *objects, char table[HOURS_TABLE_BYTES])
{
    const char *key;
    json_t *sums;
    void *next;
    json_object_foreach_safe(h->due, next, key, sums)
    {
        json_t *made = make_table(h, objects, key, sums), *old = state_of(objects, key);
        snprintf(table, HOURS_TABLE_BYTES, "%s", key);
        if (old ? !json_equal(made, old) : json_object_size(made) > 0)
            return made;
        json_decref(made);
        json_object_del(h->due, key);
    }
    return NULL;
}

/* ---- what follows from it ---- */

double hours_expect(const json_t *objects, const char *guest, int64_t wall_s, double *error)
{
    char table[HOURS_TABLE_BYTES];
    struct row row;
    struct forecast forecast = {0};
    table_of(guest, table);
    int64_t ahead = (wall_s + HOUR_S / 2) / HOUR_S;
    if (!row_read(&row, json_string_value(json_object_get(state_of(objects, table), guest))))
        return -1;
    for (int i = 0; i < row.count; i++)
        if (row.values[i] >= 0)
            forecast_add(&forecast, row.values[i], i >= DAY_HOURS ? row.values[i - DAY_HOURS] : -1);
    int64_t at = row.count - 1 - (row.hour - (ahead - DAY_HOURS)); /* of the same hour a day before */
    if (forecast.seasons < DAY_HOURS || forecast.season_error > forecast.recent_error || at < 0 || at >= row.count ||
        row.values[at] < 0)
        return -1;
    double value = forecast_next(&forecast, row.values[at], error);
    *error *= HUNDREDTHS;
    return value * HUNDREDTHS;
}

void hours_fini(struct hours *h)
{
    json_decref(h->sums);
    json_decref(h->due);
    *h = (struct hours){0};
}
