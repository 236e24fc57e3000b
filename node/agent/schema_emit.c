/* The schema tables as JSON Schema (draft 2020-12). */
#include <stdlib.h>
#include <string.h>

#include "node/agent/schema_value.h"

static void set(json_t *object, const char *key, json_t *value)
{
    json_object_set_new(object, key, value);
}

/* How the type is written in JSON Schema: its format, or a pattern. */
static void emit_string(json_t *out, const struct schema_field *f)
{
    static const struct {
        enum schema_type type;
        const char *key, *value;
    } forms[] = {
        {SCHEMA_NAME, "pattern", "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"},
        {SCHEMA_REF, "pattern", "^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$"},
        {SCHEMA_UUID, "format", "uuid"},
        {SCHEMA_TIME, "format", "date-time"},
        {SCHEMA_URL, "format", "uri"},
        {SCHEMA_CIDR, "pattern", "^[0-9a-fA-F.:]+/[0-9]{1,3}$"},
        {SCHEMA_IP_CIDR, "pattern", "^[0-9a-fA-F.:]+/[0-9]{1,3}$"},
        {SCHEMA_IP, "pattern", "^[0-9a-fA-F.:]+$"},
        {SCHEMA_MAC, "pattern", "^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"},
    };
    set(out, "type", json_string("string"));
    for (unsigned i = 0; i < sizeof forms / sizeof *forms; i++)
        if (forms[i].type == f->type)
            set(out, forms[i].key, json_string(forms[i].value));
    if (f->type == SCHEMA_STRING || f->type == SCHEMA_TEXT) {
        if (f->min)
            set(out, "minLength", json_integer(f->min));
        if (f->max)
            set(out, "maxLength", json_integer(f->max));
    }
    if (f->type == SCHEMA_ENUM) {
        json_t *values = json_array();
        for (const char *const *v = f->values; *v; v++)
            json_array_append_new(values, json_string(*v));
        set(out, "enum", values);
    }
}

static void emit_limits(json_t *out, const struct schema_field *f, const char *min, const char *max)
{
    bool quantity = f->type == SCHEMA_SIZE || f->type == SCHEMA_DURATION;
    if (!f->min && !f->max && !quantity)
        return;
    set(out, min, json_integer(f->min));
    if (f->max || !quantity)
        set(out, max, json_integer(f->max));
}

/* A size may be given as text and is answered as a number. */
static void emit_quantity(json_t *out, const struct schema_field *f)
{
    json_t *types = json_array(), *number = json_object(), *text = json_object();
    set(number, "type", json_string("integer"));
    emit_limits(number, f, "minimum", "maximum");
    set(text, "type", json_string("string"));
    set(text, "pattern",
        json_string(f->type == SCHEMA_SIZE ? "^[0-9]+(\\.[0-9]+)?([KMGTPEkmgtpe](i?B)?|B)?$"
                                           : "^[0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h)?$"));
    json_array_append_new(types, number);
    json_array_append_new(types, text);
    set(out, "oneOf", types);
}

static json_t *emit_object(const struct schema_field *fields)
{
    json_t *out = json_object(), *properties = json_object(), *required = json_array();
    set(out, "type", json_string("object"));
    for (; fields->name; fields++) {
        set(properties, fields->name, schema_emit_field(fields));
        if ((fields->flags & SCHEMA_REQUIRED) && !(fields->flags & SCHEMA_WRITE_ONLY))
            json_array_append_new(required, json_string(fields->name));
    }
    set(out, "properties", properties);
    if (json_array_size(required))
        json_object_set(out, "required", required);
    json_decref(required);
    set(out, "additionalProperties", json_false());
    return out;
}

static json_t *emit_type(const struct schema_field *f)
{
    if (f->type == SCHEMA_OBJECT && f->fields)
        return emit_object(f->fields);
    json_t *out = json_object();
    switch (f->type) {
    case SCHEMA_INT:
    case SCHEMA_NUMBER:
        set(out, "type", json_string(f->type == SCHEMA_INT ? "integer" : "number"));
        emit_limits(out, f, "minimum", "maximum");
        break;
    case SCHEMA_BOOL:
        set(out, "type", json_string("boolean"));
        break;
    case SCHEMA_SIZE:
    case SCHEMA_DURATION:
        emit_quantity(out, f);
        break;
    case SCHEMA_OBJECT:
        set(out, "type", json_string("object"));
        break;
    case SCHEMA_MAP:
        set(out, "type", json_string("object"));
        set(out, "additionalProperties", schema_emit_field(f->item));
        break;
    case SCHEMA_ARRAY:
        set(out, "type", json_string("array"));
        set(out, "items", schema_emit_field(f->item));
        emit_limits(out, f, "minItems", "maxItems");
        if (f->flags & SCHEMA_UNIQUE)
            set(out, "uniqueItems", json_true());
        break;
    case SCHEMA_ANY:
        break;
    default:
        emit_string(out, f);
        break;
    }
    return out;
}

/* null beside the type: "type" becomes a list, anything else an "anyOf". */
static json_t *with_null(json_t *out)
{
    json_t *type = json_object_get(out, "type");
    if (json_is_string(type) && !json_object_get(out, "enum")) {
        set(out, "type", json_pack("[O, s]", type, "null"));
        return out;
    }
    return json_pack("{s:[o, {s:s}]}", "anyOf", out, "type", "null");
}

static const char *default_description(enum schema_type type)
{
    switch (type) {
    case SCHEMA_SIZE:
        return "A size: bytes, or a number with K, M, G, T, P or E (powers of 1024).";
    case SCHEMA_DURATION:
        return "A duration: milliseconds, or a number with ms, s, m or h.";
    case SCHEMA_REF:
        return "The name or the id of an object.";
    default:
        return NULL;
    }
}

json_t *schema_emit_field(const struct schema_field *f)
{
    json_t *out = emit_type(f);
    const char *description = f->description ? f->description : default_description(f->type);
    if (f->flags & SCHEMA_NULLABLE)
        out = with_null(out);
    if (description)
        set(out, "description", json_string(description));
    if (f->default_json)
        set(out, "default", json_loads(f->default_json, JSON_DECODE_ANY, NULL));
    if (f->example || schema_value_example(f->type)) {
        const char *text = f->example ? f->example : schema_value_example(f->type);
        json_t *example = f->type == SCHEMA_INT || f->type == SCHEMA_NUMBER || f->type == SCHEMA_BOOL ||
                                  f->type == SCHEMA_ARRAY || f->type == SCHEMA_OBJECT || f->type == SCHEMA_MAP
                              ? json_loads(text, JSON_DECODE_ANY, NULL)
                              : json_string(text);
        if (example)
            set(out, "examples", json_pack("[o]", example));
    }
    if (f->flags & SCHEMA_READ_ONLY)
        set(out, "readOnly", json_true());
    if (f->flags & SCHEMA_WRITE_ONLY)
        set(out, "writeOnly", json_true());
    return out;
}

json_t *schema_emit(const struct schema *schema)
{
    json_t *out = emit_object(schema->fields);
    if (schema->description)
        set(out, "description", json_string(schema->description));
    return out;
}
