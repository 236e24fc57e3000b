#include "hv/migrate_facts.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hv/cpu_feature.h"
#include "hv/cpu_model.h"
#include "hv/guest_config.h"
#include "hv/memory.h"
#include "node/base/err.h"

enum { REGISTERS = 4, LIST_MAX = 440 };

/* ---- of a guest ---- */

static json_t *features_of(const struct cpu_model *model)
{
    json_t *all = json_array();
    for (const struct cpu_feature *f = cpu_features, *last = NULL; f->name; last = f++) {
        uint32_t r[REGISTERS];
        if (last && last->leaf == f->leaf && last->subleaf == f->subleaf)
            continue;
        cpu_model_query(model, 0, f->leaf, f->subleaf, r);
        json_array_append_new(all, json_pack("[I, I, I, I, I, I]", (json_int_t)f->leaf, (json_int_t)f->subleaf,
                                             (json_int_t)r[0], (json_int_t)r[1], (json_int_t)r[2], (json_int_t)r[3]));
    }
    return all;
}

static json_t *cpu_of(const struct cpu_model *model)
{
    uint32_t r[REGISTERS];
    char vendor[13] = "";
    cpu_model_query(model, 0, 0, 0, r);
    memcpy(vendor, &r[CPU_REGISTER_EBX], 4);
    memcpy(vendor + 4, &r[CPU_REGISTER_EDX], 4);
    memcpy(vendor + 8, &r[CPU_REGISTER_ECX], 4);
    return json_pack("{s:s, s:s%, s:I, s:I, s:o}", "model", model->name, "vendor", vendor, strlen(vendor), "xcr0",
                     (json_int_t)model->xcr0, "tsc-khz", (json_int_t)model->tsc_khz, "features", features_of(model));
}

static json_t *slots_of(const struct memory *memory)
{
    json_t *all = json_array();
    for (unsigned i = 0; i < memory_slot_count(memory); i++) {
        const struct memory_slot *s = memory_slot(memory, i);
        json_array_append_new(all, json_pack("{s:I, s:I, s:b}", "gpa", (json_int_t)s->gpa, "bytes",
                                             (json_int_t)s->bytes, "rom", s->read_only));
    }
    return all;
}

static json_t *nets_of(const struct guest_config *c)
{
    json_t *all = json_array();
    for (uint32_t i = 0; i < c->net_count; i++) {
        const uint8_t *m = c->nets[i].mac;
        char mac[18];
        snprintf(mac, sizeof mac, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
        json_array_append_new(all, json_pack("{s:s, s:i}", "mac", mac, "mtu", (int)c->nets[i].mtu));
    }
    return all;
}

json_t *migrate_facts_of(const struct migrate_facts *g, json_t *devices)
{
    return json_pack("{s:s, s:s, s:i, s:o, s:o, s:o, s:o}", "name", g->config->name, "engine", g->engine, "vcpus",
                     (int)g->config->vcpus, "cpu", cpu_of(g->model), "slots", slots_of(g->memory), "nets",
                     nets_of(g->config), "devices", devices);
}

/* ---- of two ---- */

struct list {
    char text[LIST_MAX];
    size_t bytes;
    unsigned count;
};

__attribute__((format(printf, 2, 3))) static void differs(struct list *l, const char *format, ...)
{
    char one[160];
    va_list args;
    va_start(args, format);
    vsnprintf(one, sizeof one, format, args);
    va_end(args);
    l->count++;
    if (l->bytes + strlen(one) + 3 >= sizeof l->text)
        return; /* the sum at the end says how many there are */
    l->bytes += (size_t)snprintf(l->text + l->bytes, sizeof l->text - l->bytes, "%s%s", l->bytes ? "; " : "", one);
}

static uint64_t number(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
    const char *t = json_string_value(json_object_get(object, key));
    return t ? t : "";
}

static uint32_t bits_of(const json_t *features, uint32_t leaf, uint32_t subleaf, unsigned reg)
{
    size_t i;
    const json_t *one;
    json_array_foreach (features, i, one)
        if (json_integer_value(json_array_get(one, 0)) == (json_int_t)leaf &&
            json_integer_value(json_array_get(one, 1)) == (json_int_t)subleaf)
            return (uint32_t)json_integer_value(json_array_get(one, 2 + reg));
    return 0;
}

static void compare_cpu(struct list *l, const json_t *source, const json_t *here)
{
    const json_t *theirs = json_object_get(source, "features"), *ours = json_object_get(here, "features");
    char missing[120] = "";
    unsigned count = 0;
    if (strcmp(text(source, "model"), text(here, "model")) != 0)
        differs(l, "the processor model is %.40s there, %.40s here", text(source, "model"), text(here, "model"));
    if (strcmp(text(source, "vendor"), text(here, "vendor")) != 0)
        differs(l, "the processor is made by %.12s there, by %.12s here", text(source, "vendor"), text(here, "vendor"));
    for (const struct cpu_feature *f = cpu_features; f->name; f++) {
        uint32_t bit = 1u << f->bit;
        if (!(bits_of(theirs, f->leaf, f->subleaf, f->reg) & bit) || bits_of(ours, f->leaf, f->subleaf, f->reg) & bit)
            continue;
        size_t n = strlen(missing);
        if (n + strlen(f->name) + 2 < sizeof missing)
            snprintf(missing + n, sizeof missing - n, "%s%s", n ? " " : "", f->name);
        count++;
    }
    if (count)
        differs(l, "%u features of the processor are missing here: %s", count, missing);
    if (number(source, "xcr0") & ~number(here, "xcr0"))
        differs(l, "states of XSAVE are missing here: %#" PRIx64, number(source, "xcr0") & ~number(here, "xcr0"));
}

static void compare_slots(struct list *l, const json_t *source, const json_t *here)
{
    uint64_t sums[2][2] = {{0}};
    const json_t *sides[2] = {source, here}, *one;
    size_t i;
    for (unsigned side = 0; side < 2; side++)
        json_array_foreach (sides[side], i, one)
            sums[side][json_is_true(json_object_get(one, "rom"))] += number(one, "bytes");
    if (sums[0][0] != sums[1][0])
        differs(l, "it has %" PRIu64 " MiB of memory, here are %" PRIu64, sums[0][0] >> 20, sums[1][0] >> 20);
    else if (sums[0][1] != sums[1][1])
        differs(l, "its firmware has %" PRIu64 " bytes, that here %" PRIu64, sums[0][1], sums[1][1]);
    else if (!json_equal(source, here))
        differs(l, "its memory lies elsewhere");
}

static const json_t *device_in(const json_t *devices, uint64_t slot)
{
    size_t i;
    const json_t *one;
    json_array_foreach (devices, i, one)
        if (number(one, "slot") == slot)
            return one;
    return NULL;
}

static void compare_device(struct list *l, const json_t *theirs, const json_t *ours)
{
    unsigned slot = (unsigned)number(theirs, "slot");
    uint64_t features = number(theirs, "features"), here = number(ours, "features");
    if (strcmp(text(theirs, "device"), text(ours, "device")) != 0)
        differs(l, "slot %u has %.30s there, %.30s here", slot, text(theirs, "device"),
                ours ? text(ours, "device") : "nothing");
    else if (number(theirs, "queues") != number(ours, "queues"))
        differs(l, "%.30s in slot %u has %" PRIu64 " queues there, %" PRIu64 " here", text(theirs, "device"), slot,
                number(theirs, "queues"), number(ours, "queues"));
    else if (here && features & ~here) /* a disk that is not open yet says so later */
        differs(l, "%.30s in slot %u can do less here: virtio features %#" PRIx64 " are missing",
                text(theirs, "device"), slot, features & ~here);
}

static void compare_devices(struct list *l, const json_t *source, const json_t *here)
{
    size_t i;
    const json_t *one;
    json_array_foreach (source, i, one)
        compare_device(l, one, device_in(here, number(one, "slot")));
    json_array_foreach (here, i, one)
        if (!device_in(source, number(one, "slot")))
            differs(l, "slot %u has nothing there, %.30s here", (unsigned)number(one, "slot"), text(one, "device"));
}

static void compare_nets(struct list *l, const json_t *source, const json_t *here)
{
    for (size_t i = 0; i < json_array_size(source) && i < json_array_size(here); i++) {
        const json_t *theirs = json_array_get(source, i), *ours = json_array_get(here, i);
        if (strcmp(text(theirs, "mac"), text(ours, "mac")) != 0)
            differs(l, "nets[%zu] is %.17s there, %.17s here", i, text(theirs, "mac"), text(ours, "mac"));
        if (number(theirs, "mtu") != number(ours, "mtu"))
            differs(l, "nets[%zu] has an MTU of %" PRIu64 " there, of %" PRIu64 " here", i, number(theirs, "mtu"),
                    number(ours, "mtu"));
    }
}

int migrate_facts_fit(const json_t *source, const json_t *here, struct err *err)
{
    struct list l = {.count = 0};
    if (number(source, "vcpus") != number(here, "vcpus"))
        differs(&l, "it has %" PRIu64 " vCPUs, here are %" PRIu64, number(source, "vcpus"), number(here, "vcpus"));
    compare_slots(&l, json_object_get(source, "slots"), json_object_get(here, "slots"));
    compare_cpu(&l, json_object_get(source, "cpu"), json_object_get(here, "cpu"));
    compare_devices(&l, json_object_get(source, "devices"), json_object_get(here, "devices"));
    compare_nets(&l, json_object_get(source, "nets"), json_object_get(here, "nets"));
    return l.count ? err_set(err, ENOTSUP, "%u things do not fit: %s", l.count, l.text) : 0;
}
