#include "hv/migrate_wire.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "node/base/err.h"

enum { PAGE = 4096, STATE_PART_MAX = 256 << 10 };

struct rule {
    const char *name;
    uint32_t least, most, step;
};

static const struct rule rules[MIGRATE_TYPE_COUNT] = {
    [MIGRATE_HELLO] = {"HELLO", 2, MIGRATE_JSON_MAX, 1},
    [MIGRATE_WELCOME] = {"WELCOME", 2, MIGRATE_JSON_MAX, 1},
    [MIGRATE_REFUSED] = {"REFUSED", 2, MIGRATE_JSON_MAX, 1},
    [MIGRATE_PAGES] = {"PAGES", PAGE, MIGRATE_RUN_BYTES, PAGE},
    [MIGRATE_ZEROES] = {"ZEROES", MIGRATE_COUNT_BYTES, MIGRATE_COUNT_BYTES, 1},
    [MIGRATE_MARK] = {"MARK", 0, 0, 1},
    [MIGRATE_SYNCED] = {"SYNCED", 0, 0, 1},
    [MIGRATE_STATE] = {"STATE", 1, STATE_PART_MAX, 1},
    [MIGRATE_FINAL] = {"FINAL", 2, MIGRATE_JSON_MAX, 1},
    [MIGRATE_READY] = {"READY", 2, MIGRATE_JSON_MAX, 1},
    [MIGRATE_GO] = {"GO", 0, 0, 1},
    [MIGRATE_STARTED] = {"STARTED", 2, MIGRATE_JSON_MAX, 1},
    [MIGRATE_FAILED] = {"FAILED", 2, MIGRATE_JSON_MAX, 1},
    [MIGRATE_PACKED] = {"PACKED", MIGRATE_COUNT_BYTES + 1, MIGRATE_COUNT_BYTES + MIGRATE_RUN_BYTES - 1, 1},
    [MIGRATE_MISSING] = {"MISSING", 8, MIGRATE_MISSING_BYTES, 8},
    [MIGRATE_LATE] = {"LATE", 0, 0, 1},
    [MIGRATE_NEED] = {"NEED", 0, 0, 1},
    [MIGRATE_COMPLETE] = {"COMPLETE", 2, MIGRATE_JSON_MAX, 1},
    [MIGRATE_RESUME] = {"RESUME", 0, 0, 1},
    [MIGRATE_RESUMED] = {"RESUMED", 0, 0, 1},
};

void migrate_frame_pack(const struct migrate_frame *f, uint8_t header[MIGRATE_HEADER_BYTES])
{
    uint32_t bytes = htole32(f->bytes);
    uint64_t number = htole64(f->number);
    memset(header, 0, MIGRATE_HEADER_BYTES);
    header[0] = (uint8_t)f->type;
    memcpy(header + 4, &bytes, sizeof bytes);
    memcpy(header + 8, &number, sizeof number);
}

int migrate_frame_unpack(struct migrate_frame *f, const uint8_t header[MIGRATE_HEADER_BYTES], struct err *err)
{
    uint32_t bytes;
    uint64_t number;
    memcpy(&bytes, header + 4, sizeof bytes);
    memcpy(&number, header + 8, sizeof number);
    bytes = le32toh(bytes);
    const struct rule *rule = header[0] < MIGRATE_TYPE_COUNT ? &rules[header[0]] : &rules[0];
    if (!rule->name)
        return err_set(err, EPROTO, "the other side sent a frame of type %u, which this version does not know",
                       header[0]);
    if (header[1] || header[2] || header[3] || bytes < rule->least || bytes > rule->most || bytes % rule->step)
        return err_set(err, EPROTO, "the other side sent a %s of %u bytes, which cannot be", rule->name, bytes);
    *f = (struct migrate_frame){(enum migrate_type)header[0], bytes, le64toh(number)};
    return 0;
}

const char *migrate_type_name(enum migrate_type type)
{
    return type < MIGRATE_TYPE_COUNT && rules[type].name ? rules[type].name : "nothing";
}
