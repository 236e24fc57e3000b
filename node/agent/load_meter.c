/* See load_meter.h. A window of thirty is moved by one place at each sample: 120 bytes, every ten seconds. */
#include "node/agent/load_meter.h"

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

void load_meter_note(struct load_meter *m, int sample)
{
    if (m->count == LOAD_SAMPLES) {
        memmove(m->window, m->window + 1, (LOAD_SAMPLES - 1) * sizeof *m->window);
        m->count--;
    }
    m->window[m->count++] = sample;
}

void load_meter_add(struct load_meter *m, uint64_t value, uint64_t now_us, double unit)
{
    bool begins = !m->at_us || value < m->value;
    if (!begins && now_us <= m->at_us)
        return;
    if (begins) {
        m->count = 0;
    } else {
        double rate = (double)(value - m->value) / unit * 1e6 / (double)(now_us - m->at_us);
        load_meter_note(m, rate < LOAD_RATE_MAX ? (int)rate : LOAD_RATE_MAX);
    }
    m->value = value;
    m->at_us = now_us;
}

void load_meter_anew(struct load_meter *m)
{
    m->count = 0;
}

json_t *load_meter_window(const struct load_meter *m)
{
    bool any = false;
    for (unsigned i = 0; i < m->count; i++)
        any |= m->window[i] != 0;
    json_t *window = any ? json_array() : NULL;
    for (unsigned i = 0; window && i < m->count; i++)
        json_array_append_new(window, json_integer(m->window[i]));
    return window;
}

/* Sorts only as far as it must: of thirty one is above it. */
static int p95_of(int *values, unsigned count)
{
    unsigned above = count - (count * 95 + 99) / 100;
    for (unsigned i = 0; i <= above && i < count; i++)
        for (unsigned j = i + 1; j < count; j++)
            if (values[j] > values[i]) {
                int larger = values[j];
                values[j] = values[i];
                values[i] = larger;
            }
    return count ? values[above] : 0;
}

int load_meter_p95(const struct load_meter *m)
{
    int values[LOAD_SAMPLES] = {0};
    memcpy(values, m->window, sizeof values);
    return p95_of(values, m->count);
}

int load_window_p95(const json_t *window)
{
    int values[LOAD_SAMPLES] = {0};
    unsigned count = 0;
    for (; count < json_array_size(window) && count < LOAD_SAMPLES; count++) {
        json_int_t n = json_integer_value(json_array_get(window, count));
        values[count] = n < 0 ? 0 : n > LOAD_RATE_MAX ? LOAD_RATE_MAX : (int)n;
    }
    return p95_of(values, count);
}
