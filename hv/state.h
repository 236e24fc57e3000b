/* The state of a guest outside its memory, in one format for files, migration and both engines: versioned,
 * self-describing, little-endian.
 *
 * One function per device serves both directions: it names each field, and the field is written to the stream or read
 * from it. So a field cannot be saved and forgotten on load:
 *
 *     static void pit_state(struct device *device, struct state *s)
 *     {
 *         state_u16(s, "count", &pit->count);
 *         state_check(s, pit->mode < 6, "mode is not one of 0 to 5");
 *     }
 *
 * Errors stick: after the first one, loading leaves values untouched and state_fini() tells. A load that failed leaves
 * a machine that must not run.
 *
 * Bytes: header "drover-state", u32 version; sections: u8 1, name (u8 length, text), u32 instance, u32 version, fields,
 * u8 0. A field: u8 type (2: number of 8 bytes, 3: bytes), name, then the u64, or u32 length and the bytes. End: u8 4,
 * u32 CRC-32 (as zlib computes it) of all before. Fields are found by name, in any order; one that the loader does not
 * ask for is an error, so is a duplicate, so is one that is missing (state_optional() excepted). Threads: a state has
 * one owner. */
#ifndef HV_STATE_H
#define HV_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct state;

enum { STATE_VERSION = 1, STATE_NAME_MAX = 63, STATE_BYTES_MAX = 64 << 20 };

struct state *state_save_new(void);                           /* NULL: no memory */
struct state *state_load_new(const void *data, size_t bytes); /* data stays valid; NULL: no memory */
/* Saving: ends the stream; *data is valid until state_free(). Loading: has every section been asked for, was all well?
 * 0 or -errno (-EINVAL, -EPROTO, -ENOMEM) with a text that names section and field. */
int state_fini(struct state *s, const void **data, size_t *bytes, struct err *err);
void state_free(struct state *s);

bool state_loading(const struct state *s);
bool state_failed(const struct state *s);

/* Sections do not nest. Loading: false if there is no such section, or an error has stuck; version is then 0. */
bool state_begin(struct state *s, const char *name, uint32_t instance, uint32_t version);
void state_end(struct state *s);
bool state_has(struct state *s, const char *name, uint32_t instance); /* loading: there is such a section */
uint32_t state_version(const struct state *s);                        /* of the section: what the writer wrote */

void state_u8(struct state *s, const char *name, uint8_t *v);
void state_u16(struct state *s, const char *name, uint16_t *v);
void state_u32(struct state *s, const char *name, uint32_t *v);
void state_u64(struct state *s, const char *name, uint64_t *v);
void state_bool(struct state *s, const char *name, bool *v);
/* Exactly `bytes` long, in both directions. */
void state_bytes(struct state *s, const char *name, void *data, size_t bytes);
/* Up to max long; *bytes is the length. */
void state_blob(struct state *s, const char *name, void *data, size_t *bytes, size_t max);

/* Loading: is the field there? Saving: true. For fields that a newer version added. */
bool state_optional(struct state *s, const char *name);
/* Loading: a value that cannot be is an error with this text. */
void state_check(struct state *s, bool holds, const char *what);

#endif
