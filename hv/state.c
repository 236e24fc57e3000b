/* See state.h. Saving appends to one buffer. Loading parses the whole stream once, when it is opened, into an index of
 * sections and fields (so every length has been checked before a device sees a value), and looks names up in it. */
#include "hv/state.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "node/base/err.h"

enum tag { TAG_SECTION = 1, TAG_NUMBER = 2, TAG_BYTES = 3, TAG_END = 4, TAG_SECTION_END = 0 };
enum { SECTION_MAX = 4096, FIELD_MAX = 1 << 18, SECTION_FIELD_MAX = 1024, GROW_BYTES = 1 << 14 };

static const char magic[12] = "drover-state";

struct field {
    const char *name; /* not terminated */
    const uint8_t *data;
    uint32_t bytes;
    uint8_t name_bytes, tag;
    bool used;
};

struct section {
    const char *name;
    uint32_t instance, version;
    uint32_t first, count; /* of fields */
    uint8_t name_bytes;
    bool used;
};

struct state {
    bool loading;
    struct err error; /* the first one */
    char context[STATE_NAME_MAX + 32];
    /* saving */
    uint8_t *out;
    size_t out_bytes, out_room;
    /* loading */
    const uint8_t *at, *end;
    struct section *sections;
    struct field *fields;
    uint32_t section_count, section_room, field_count, field_room;
    struct section *open;
    uint32_t version;
};

__attribute__((format(printf, 3, 4))) static void fail(struct state *s, int code, const char *format, ...)
{
    if (s->error.code)
        return;
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    err_set(&s->error, code, "%s%s%s", s->context, *s->context ? ": " : "", text);
}

/* ---- saving ---- */

static void put(struct state *s, const void *data, size_t bytes)
{
    if (s->error.code)
        return;
    if (s->out_bytes + bytes > STATE_BYTES_MAX) {
        fail(s, EFBIG, "the state is larger than %d bytes", STATE_BYTES_MAX);
        return;
    }
    if (s->out_bytes + bytes > s->out_room) {
        size_t room = s->out_room * 2 + bytes + GROW_BYTES;
        uint8_t *out = realloc(s->out, room);
        if (!out) {
            fail(s, ENOMEM, "no memory for the state");
            return;
        }
        s->out = out;
        s->out_room = room;
    }
    if (bytes)
        memcpy(s->out + s->out_bytes, data, bytes);
    s->out_bytes += bytes;
}

static void put_u8(struct state *s, uint8_t v)
{
    put(s, &v, 1);
}

static void put_u32(struct state *s, uint32_t v)
{
    v = htole32(v);
    put(s, &v, sizeof v);
}

static void put_name(struct state *s, const char *name)
{
    size_t n = strlen(name);
    if (!n || n > STATE_NAME_MAX) {
        fail(s, EINVAL, "'%s' is no name of 1 to %d letters", name, STATE_NAME_MAX);
        return;
    }
    put_u8(s, (uint8_t)n);
    put(s, name, n);
}

struct state *state_save_new(void)
{
    struct state *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    put(s, magic, sizeof magic);
    put_u32(s, STATE_VERSION);
    return s;
}

/* ---- parsing ---- */

static const uint8_t *take(struct state *s, size_t bytes)
{
    if (s->error.code)
        return NULL;
    if ((size_t)(s->end - s->at) < bytes) {
        fail(s, EPROTO, "the state ends in the middle of something: it was cut off");
        return NULL;
    }
    const uint8_t *p = s->at;
    s->at += bytes;
    return p;
}

static uint8_t take_u8(struct state *s)
{
    const uint8_t *p = take(s, 1);
    return p ? *p : 0;
}

static uint32_t take_u32(struct state *s)
{
    uint32_t v = 0;
    const uint8_t *p = take(s, sizeof v);
    if (p)
        memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static const char *take_name(struct state *s, uint8_t *bytes)
{
    *bytes = take_u8(s);
    if (!s->error.code && (!*bytes || *bytes > STATE_NAME_MAX))
        fail(s, EPROTO, "a name has %u letters", *bytes);
    return (const char *)take(s, *bytes);
}

/* The array with room for one more element, doubled when it runs out; NULL: the array is as it was. */
static void *grown(struct state *s, void *array, uint32_t count, uint32_t *room, size_t each, uint32_t max)
{
    if (s->error.code || count < *room)
        return s->error.code ? NULL : array;
    if (count == max) {
        fail(s, EPROTO, "more than %u entries", max);
        return NULL;
    }
    uint32_t wanted = *room ? *room * 2 : 64;
    void *larger = realloc(array, wanted * each);
    if (larger)
        *room = wanted;
    else
        fail(s, ENOMEM, "no memory for the state's index");
    return larger;
}

static void parse_field(struct state *s, struct section *section, uint8_t tag)
{
    struct field f = {.tag = tag};
    f.name = take_name(s, &f.name_bytes);
    f.bytes = tag == TAG_NUMBER ? 8 : take_u32(s);
    f.data = take(s, f.bytes);
    struct field *fields = grown(s, s->fields, s->field_count, &s->field_room, sizeof f, FIELD_MAX);
    if (!fields)
        return;
    s->fields = fields;
    if (section->count == SECTION_FIELD_MAX)
        fail(s, EPROTO, "a section has more than %d fields", SECTION_FIELD_MAX);
    for (uint32_t i = section->first; i < s->field_count; i++)
        if (s->fields[i].name_bytes == f.name_bytes && memcmp(s->fields[i].name, f.name, f.name_bytes) == 0)
            fail(s, EPROTO, "field '%.*s' is there twice", f.name_bytes, f.name);
    s->fields[s->field_count++] = f;
    section->count++;
}

static void parse_section(struct state *s)
{
    struct section section = {.first = s->field_count};
    section.name = take_name(s, &section.name_bytes);
    section.instance = take_u32(s);
    section.version = take_u32(s);
    while (!s->error.code) {
        uint8_t tag = take_u8(s);
        if (s->error.code || tag == TAG_SECTION_END)
            break;
        if (tag == TAG_NUMBER || tag == TAG_BYTES)
            parse_field(s, &section, tag);
        else
            fail(s, EPROTO, "a field of section '%.*s' has the unknown type %u", section.name_bytes, section.name, tag);
    }
    struct section *sections = grown(s, s->sections, s->section_count, &s->section_room, sizeof section, SECTION_MAX);
    if (!sections)
        return;
    s->sections = sections;
    s->sections[s->section_count++] = section;
}

static void parse(struct state *s, const uint8_t *data, size_t bytes)
{
    if (bytes < sizeof magic + 9 || memcmp(data, magic, sizeof magic) != 0) {
        fail(s, EPROTO, "this is not a state of a Drover guest");
        return;
    }
    uint32_t sum;
    memcpy(&sum, data + bytes - sizeof sum, sizeof sum);
    s->at = data + sizeof magic;
    s->end = data + bytes - sizeof sum;
    uint32_t version = take_u32(s);
    if (version != STATE_VERSION)
        fail(s, EPROTO, "the state has format %u, this program reads format %d", version, STATE_VERSION);
    else if (le32toh(sum) != crc32_z(0, data, bytes - sizeof sum))
        fail(s, EPROTO, "the checksum is wrong: the state was damaged or cut off");
    uint8_t tag = TAG_SECTION_END;
    while (!s->error.code && (tag = take_u8(s)) == TAG_SECTION)
        parse_section(s);
    if (!s->error.code && (tag != TAG_END || s->at != s->end))
        fail(s, EPROTO, "something else than a section follows a section");
}

struct state *state_load_new(const void *data, size_t bytes)
{
    struct state *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->loading = true;
    parse(s, data, bytes);
    return s;
}

/* ---- both ---- */

static void check_all_used(struct state *s)
{
    for (uint32_t i = 0; i < s->section_count && !s->error.code; i++) {
        const struct section *n = &s->sections[i];
        if (!n->used)
            fail(s, EINVAL, "section '%.*s' %u belongs to a device that this guest does not have", n->name_bytes,
                 n->name, n->instance);
    }
}

int state_fini(struct state *s, const void **data, size_t *bytes, struct err *err)
{
    *s->context = 0;
    if (s->loading) {
        check_all_used(s);
    } else {
        put_u8(s, TAG_END);
        put_u32(s, (uint32_t)crc32_z(0, s->out, s->out_bytes));
    }
    if (s->error.code)
        return err_set(err, s->error.code, "%s", s->error.text);
    if (!s->loading) {
        *data = s->out;
        *bytes = s->out_bytes;
    }
    return 0;
}

void state_free(struct state *s)
{
    if (!s)
        return;
    free(s->out);
    free(s->sections);
    free(s->fields);
    free(s);
}

bool state_loading(const struct state *s)
{
    return s->loading;
}

bool state_failed(const struct state *s)
{
    return s->error.code != 0;
}

static struct section *find_section(struct state *s, const char *name, uint32_t instance)
{
    for (uint32_t i = 0; i < s->section_count; i++) {
        struct section *n = &s->sections[i];
        if (!n->used && n->instance == instance && n->name_bytes == strlen(name) &&
            memcmp(n->name, name, n->name_bytes) == 0)
            return n;
    }
    return NULL;
}

bool state_begin(struct state *s, const char *name, uint32_t instance, uint32_t version)
{
    s->version = 0;
    s->open = NULL;
    snprintf(s->context, sizeof s->context, "%.*s %u", STATE_NAME_MAX, name, instance);
    if (s->error.code)
        return false;
    if (!s->loading) {
        s->version = version;
        put_u8(s, TAG_SECTION);
        put_name(s, name);
        put_u32(s, instance);
        put_u32(s, version);
        return !s->error.code;
    }
    s->open = find_section(s, name, instance);
    if (!s->open) {
        fail(s, EINVAL, "the state does not have this device");
        return false;
    }
    s->open->used = true;
    s->version = s->open->version;
    if (s->version > version || s->version + 1 < version)
        fail(s, EINVAL, "the state has version %u, this program reads %u and the one before", s->version, version);
    return !s->error.code;
}

bool state_has(struct state *s, const char *name, uint32_t instance)
{
    return s->loading && find_section(s, name, instance);
}

void state_end(struct state *s)
{
    if (!s->loading) {
        put_u8(s, TAG_SECTION_END);
    } else if (s->open && !s->error.code) {
        for (uint32_t i = s->open->first; i < s->open->first + s->open->count; i++)
            if (!s->fields[i].used)
                fail(s, EINVAL, "field '%.*s' is not known here", s->fields[i].name_bytes, s->fields[i].name);
    }
    s->open = NULL;
    *s->context = 0;
}

uint32_t state_version(const struct state *s)
{
    return s->version;
}

static struct field *find_field(struct state *s, const char *name)
{
    if (!s->open || s->error.code)
        return NULL;
    for (uint32_t i = s->open->first; i < s->open->first + s->open->count; i++) {
        struct field *f = &s->fields[i];
        if (f->name_bytes == strlen(name) && memcmp(f->name, name, f->name_bytes) == 0)
            return f;
    }
    return NULL;
}

static const struct field *use_field(struct state *s, const char *name, enum tag tag)
{
    struct field *f = find_field(s, name);
    if (!f)
        fail(s, EINVAL, "field '%s' is missing", name);
    else if (f->used)
        fail(s, EINVAL, "field '%s' is asked for twice", name);
    else if (f->tag != tag)
        fail(s, EINVAL, "field '%s' has another type", name);
    if (!f || s->error.code)
        return NULL;
    f->used = true;
    return f;
}

static uint64_t number(struct state *s, const char *name, uint64_t v, uint64_t max)
{
    if (!s->loading) {
        put_u8(s, TAG_NUMBER);
        put_name(s, name);
        uint64_t le = htole64(v);
        put(s, &le, sizeof le);
        return v;
    }
    const struct field *f = use_field(s, name, TAG_NUMBER);
    if (!f)
        return v;
    uint64_t le;
    memcpy(&le, f->data, sizeof le);
    if (le64toh(le) > max) {
        fail(s, EINVAL, "field '%s' is larger than %llu", name, (unsigned long long)max);
        return v;
    }
    return le64toh(le);
}

void state_u8(struct state *s, const char *name, uint8_t *v)
{
    *v = (uint8_t)number(s, name, *v, UINT8_MAX);
}

void state_u16(struct state *s, const char *name, uint16_t *v)
{
    *v = (uint16_t)number(s, name, *v, UINT16_MAX);
}

void state_u32(struct state *s, const char *name, uint32_t *v)
{
    *v = (uint32_t)number(s, name, *v, UINT32_MAX);
}

void state_u64(struct state *s, const char *name, uint64_t *v)
{
    *v = number(s, name, *v, UINT64_MAX);
}

void state_bool(struct state *s, const char *name, bool *v)
{
    *v = number(s, name, *v, 1) != 0;
}

void state_blob(struct state *s, const char *name, void *data, size_t *bytes, size_t max)
{
    if (!s->loading) {
        put_u8(s, TAG_BYTES);
        put_name(s, name);
        put_u32(s, (uint32_t)*bytes);
        put(s, data, *bytes);
        return;
    }
    const struct field *f = use_field(s, name, TAG_BYTES);
    if (!f)
        return;
    if (f->bytes > max) {
        fail(s, EINVAL, "field '%s' has %u bytes, there is room for %zu", name, f->bytes, max);
        return;
    }
    memcpy(data, f->data, f->bytes);
    *bytes = f->bytes;
}

void state_bytes(struct state *s, const char *name, void *data, size_t bytes)
{
    const struct field *f = s->loading ? find_field(s, name) : NULL;
    if (f && f->bytes != bytes) {
        fail(s, EINVAL, "field '%s' has %u bytes instead of %zu", name, f->bytes, bytes);
        return;
    }
    state_blob(s, name, data, &(size_t){bytes}, bytes);
}

bool state_optional(struct state *s, const char *name)
{
    return !s->loading || find_field(s, name);
}

void state_check(struct state *s, bool holds, const char *what)
{
    if (s->loading && !holds)
        fail(s, EINVAL, "%s", what);
}
