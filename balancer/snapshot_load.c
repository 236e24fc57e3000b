/* See snapshot_load.h. A node that says nothing of its disks and links gets usual ones: a load is compared between
 * nodes, and for that any rate will do as long as all have the same. */
#include "balancer/snapshot_load.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "balancer/forecast.h"
#include "balancer/model.h"
#include "node/base/units.h"

static const double PERCENTILE = 0.95, HUNDREDTHS = 0.01;
static const double USUAL_DISK_RATE = 500e6, USUAL_NETWORK_RATE = 1.25e9; /* bytes a second: one SSD, 10 Gbit/s */
static const double UNIT_BYTES_MAX = 1 << 20, RATE_MAX = 1e15;

double snapshot_number(const json_t *object, const char *key)
{
    double n = json_number_value(json_object_get(object, key));
    return isfinite(n) && n > 0 ? n : 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* [p95, what the forecast is wrong by]; NULL: there is no such window. *samples: how many there are. */
static json_t *digest(const json_t *window, size_t *samples)
{
    double values[SNAPSHOT_SAMPLES_MAX], error = 0;
    struct forecast forecast = {0};
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(window) && count < SNAPSHOT_SAMPLES_MAX; i++) {
        const json_t *sample = json_array_get(window, i);
        double value = json_number_value(sample);
        if (!json_is_number(sample) || !isfinite(value) || value < 0)
            return NULL;
        values[count++] = value;
        forecast_add(&forecast, value, -1);
    }
    if (!count)
        return NULL;
    *samples = count;
    forecast_next(&forecast, -1, &error);
    qsort(values, count, sizeof *values, by_value);
    return json_pack("[f, f]", values[(size_t)ceil(PERCENTILE * (double)count) - 1], error);
}

static json_t *digest_guest(const json_t *use)
{
    static const char *const windows[] = {"cpu", "steal", "disk", "network"};
    json_t *to = json_pack("{s:f}", "memory", snapshot_number(use, "memory"));
    for (unsigned i = 0; i < sizeof windows / sizeof *windows; i++) {
        size_t samples = 0;
        json_t *two = digest(json_object_get(use, windows[i]), &samples);
        if (two)
            json_object_set_new(to, windows[i], two);
        if (two && !i)
            json_object_set_new(to, "samples", json_integer((json_int_t)samples));
    }
    json_t *storage = json_object_get(use, "storage");
    if (json_object_size(storage))
        json_object_set(to, "storage", storage);
    static const char *const writes[] = {"dirty", "dirty_ago"};
    for (unsigned i = 0; i < sizeof writes / sizeof *writes; i++) /* none is another thing than zero */
        if (json_is_number(json_object_get(use, writes[i])))
            json_object_set_new(to, writes[i], json_real(snapshot_number(use, writes[i])));
    return to;
}

void snapshot_load_digest(json_t *record)
{
    json_t *guests = json_object_get(record, "guests"), *use;
    const char *id;
    if (!guests || json_is_true(json_object_get(record, "digested")))
        return;
    json_object_foreach (guests, id, use)
        json_object_set_new(guests, id, digest_guest(use)); /* the key is there: the table stays as it is */
    json_object_set_new(record, "digested", json_true());
}

/* One of a digested guest; zero where there was no window. */
static void measure(const json_t *use, const char *what, double scale, double *load, double *error)
{
    const json_t *two = json_object_get(use, what);
    *load = json_number_value(json_array_get(two, 0)) * scale;
    *error = json_number_value(json_array_get(two, 1)) * scale;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* Zero need not be said. */
static void put(json_t *to, const char *key, double value)
{
    if (value > 0)
        json_object_set_new_nocheck(to, key, json_real(value));
}

bool snapshot_load_is_enough(const json_t *use)
{
    return json_integer_value(json_object_get(use, "samples")) >= SNAPSHOT_SAMPLES_NEEDED;
}

bool snapshot_load_guest(json_t *to, const json_t *record, const char *id, double vcpus)
{
    const json_t *use = json_object_get(json_object_get(record, "guests"), id);
    double unit = least(snapshot_number(record, "unit"), UNIT_BYTES_MAX);
    double cpu, cpu_error, steal, disk, disk_error, network, network_error, unused;
    if (!snapshot_load_is_enough(use))
        return false;
    measure(use, "cpu", HUNDREDTHS, &cpu, &cpu_error);
    measure(use, "steal", HUNDREDTHS, &steal, &unused);
    measure(use, "disk", unit, &disk, &disk_error);
    measure(use, "network", unit, &network, &network_error);
    cpu = least(cpu, vcpus); /* it cannot want more than it has */
    steal = least(steal, vcpus - cpu);
    cpu_error = least(cpu_error, vcpus - cpu - steal);
    json_t *load = json_object(), *wrong = json_object();
    put(load, "cpu", cpu);
    put(load, "memory", snapshot_number(use, "memory"));
    put(load, "disk", disk);
    put(load, "network", network);
    put(wrong, "cpu", cpu_error);
    put(wrong, "disk", disk_error);
    put(wrong, "network", network_error);
    json_object_set_new(to, "load", load);
    json_object_set_new(to, "error", wrong);
    if (steal > 0)
        json_object_set_new(to, "steal", json_real(steal));
    return true;
}

void snapshot_load_storage(json_t *to, const json_t *record, const char *id, const json_t *nodes)
{
    json_t *use = json_object_get(json_object_get(record, "guests"), id), *storage = json_object();
    double unit = least(snapshot_number(record, "unit"), UNIT_BYTES_MAX);
    const char *node;
    json_t *rate;
    json_object_foreach (json_object_get(use, "storage"), node, rate) {
        double bytes = snapshot_number(json_object_get(use, "storage"), node) * unit;
        if (json_object_get(nodes, node) && json_object_size(storage) < MODEL_STORAGE_MAX)
            put(storage, node, least(bytes, RATE_MAX));
    }
    if (json_object_size(storage))
        json_object_set(to, "storage", storage);
    json_decref(storage);
}

double snapshot_load_writes(const json_t *record, const char *id, double *ago_s)
{
    const json_t *use = json_object_get(json_object_get(record, "guests"), id);
    const json_t *rate = json_object_get(use, "dirty");
    *ago_s = snapshot_number(use, "dirty_ago");
    return rate ? json_number_value(rate) : -1;
}

/* ---- nodes ---- */

static json_t *parts_of(const json_t *record, const char *key)
{
    const json_t *parts = json_object_get(record, key);
    return json_pack("{s:f, s:f, s:f}", "cpu", least(snapshot_number(parts, "cpu"), 1), "memory",
                     least(snapshot_number(parts, "memory"), 1), "disk", least(snapshot_number(parts, "io"), 1));
}

/* A label is anybody's text: what is no size is as if it were not there. */
static double rate_of(const json_t *labels, const char *key, double usual)
{
    const char *text = json_string_value(json_object_get(labels, key));
    uint64_t bytes = 0;
    return text && !units_parse_size(text, &bytes, NULL) && bytes ? least((double)bytes, 1e15) : usual;
}

void snapshot_load_node(json_t *to, const json_t *record, const json_t *labels)
{
    json_object_set_new(to, "disk_rate", json_real(rate_of(labels, "disk_rate", USUAL_DISK_RATE)));
    json_object_set_new(to, "network_rate", json_real(rate_of(labels, "network_rate", USUAL_NETWORK_RATE)));
    put(to, "link", rate_of(labels, "link", 0));
    if (!json_is_object(record))
        return;
    json_object_set_new(to, "pressure", parts_of(record, "pressure"));
    json_object_set_new(to, "stalled", parts_of(record, "stalled"));
}
