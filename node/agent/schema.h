/* What a JSON object of the API may hold, as data: one table checks what people send, fills in defaults, and becomes
 * the JSON Schema of the OpenAPI document, so that code and document cannot differ.
 *
 * Threads: tables are constant; a check uses its arguments only. */
#ifndef NODE_AGENT_SCHEMA_H
#define NODE_AGENT_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct err;

enum schema_type {
    SCHEMA_STRING, /* min, max: bytes (default max 1024); no control characters but those of SCHEMA_TEXT */
    SCHEMA_TEXT,   /* a string with line breaks and tabs: user data, descriptions */
    SCHEMA_INT,    /* min, max (both 0: no limit) */
    SCHEMA_NUMBER, /* min, max as integers */
    SCHEMA_BOOL,
    SCHEMA_SIZE,     /* "20G", or bytes as a number; becomes bytes. min, max: bytes */
    SCHEMA_DURATION, /* "30s"; becomes milliseconds. min, max: milliseconds */
    SCHEMA_NAME,     /* a-z, 0-9, '-', '.'; starts with a letter or digit, ends so; 1 to 63 bytes */
    SCHEMA_REF,      /* the name or the id of another object */
    SCHEMA_UUID,
    SCHEMA_IP,      /* IPv4 or IPv6 address */
    SCHEMA_CIDR,    /* "10.7.0.0/24": address with prefix, host bits zero */
    SCHEMA_IP_CIDR, /* "10.7.0.5/24": address with prefix, host bits free */
    SCHEMA_MAC,     /* "52:54:00:12:34:56", unicast */
    SCHEMA_TIME,    /* RFC 3339, "2026-11-26T04:00:00Z" */
    SCHEMA_URL,     /* http:// or https:// */
    SCHEMA_ENUM,    /* one of `values` */
    SCHEMA_OBJECT,  /* `fields`; NULL: any object (answers only) */
    SCHEMA_MAP,     /* names (label syntax) to `item`; max entries */
    SCHEMA_ARRAY,   /* of `item`; min, max: entries (default max 1000) */
    SCHEMA_ANY,     /* answers only */
};

enum schema_flag {
    SCHEMA_REQUIRED = 1 << 0,
    SCHEMA_NULLABLE = 1 << 1,   /* null is taken, and means: as if it were not there, or: take it away in a PATCH */
    SCHEMA_READ_ONLY = 1 << 2,  /* in answers only: refused in a request */
    SCHEMA_WRITE_ONLY = 1 << 3, /* a secret: never in an answer */
    SCHEMA_UNIQUE = 1 << 4,     /* entries of an array differ */
};

struct schema_field {
    const char *name; /* NULL ends a table */
    enum schema_type type;
    uint32_t flags; /* enum schema_flag */
    int64_t min, max;
    const char *const *values;         /* SCHEMA_ENUM, NULL at the end */
    const struct schema_field *fields; /* SCHEMA_OBJECT */
    const struct schema_field *item;   /* SCHEMA_ARRAY, SCHEMA_MAP: one field whose name is not used */
    /* A check beyond the type: NULL, or what is wrong and what would be right ("... is ...; write for example ..."). */
    const char *(*check)(const json_t *value);
    const char *default_json; /* as JSON text: "\"local\"", "1" */
    const char *description;
    const char *example; /* as text, for messages and the document */
};

/* A named object type; the name becomes #/components/schemas/NAME. */
struct schema {
    const char *name;
    const char *description;
    const struct schema_field *fields;
};

enum { SCHEMA_PATH_MAX = 256, SCHEMA_DEPTH_MAX = 16 };

/* What is wrong with a value, and where. */
struct schema_error {
    char path[SCHEMA_PATH_MAX]; /* "spec.disks[1].size"; "": the whole */
    char text[512];             /* "'20X' is no size; write for example 20G" */
};

enum schema_mode {
    SCHEMA_WHOLE,  /* creation: required fields are required, defaults are filled in */
    SCHEMA_PATCH,  /* change: fields that are there are checked (required ones cannot be null), nothing is filled in */
    SCHEMA_ANSWER, /* our own answers, in tests: read-only fields are allowed, unknown fields are not */
};

/* Checks `value` (an object) and rewrites it in place: sizes become bytes, MACs and UUIDs small letters, defaults
 * appear. Errors: -EINVAL, error filled; value may have been rewritten in part then. */
int schema_check(const struct schema *schema, json_t *value, enum schema_mode mode, struct schema_error *error);

/* Text of a query parameter to a checked JSON value (new reference), by the same rules: "5" for an int, "true" for a
 * bool. NULL: error filled. */
json_t *schema_from_text(const struct schema_field *field, const char *text, struct schema_error *error);

/* The JSON Schema (draft 2020-12, as OpenAPI 3.1 uses it) of one field, or of an object type; new references. */
json_t *schema_emit_field(const struct schema_field *field);
json_t *schema_emit(const struct schema *schema);

/* NULL: there is none of that name, or no table at all. */
const struct schema_field *schema_find(const struct schema_field *fields, const char *name);

/* The nearest of `names` to `text` by edit distance, if it is near enough to be meant; else NULL. */
const char *schema_nearest(const char *text, const char *const *names, unsigned count);

/* Single values, for arguments that come from elsewhere (paths, the command line's server side). NULL: right. */
const char *schema_name_error(const char *text);
bool schema_is_uuid(const char *text);

#endif
