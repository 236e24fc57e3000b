#include "node/agent/drill_kind.h"

#include <stddef.h>

#include "node/agent/drill_schedule.h"
#include "node/agent/fault_config.h"

enum {
    FOR_MS_MIN = 1000,
    HEAL_MS_MIN = 10000,
    HEAL_MS_MAX = 3600000,
    DELAY_MS_MIN = 10,
    GUESTS_MAX = 16,
    WINDOW_MS_MIN = 60000,
    WINDOW_MS_MAX = 86400000
};

static const char *const kinds[] = {"node-power-loss", "partition", "coordinator-loss", "agent-crash",
                                    "member-loss",     "slow-disk", "migration-fault",  NULL};
static const struct schema_field guest_name = {.type = SCHEMA_REF};

#define END                                                                                                            \
    {                                                                                                                  \
        .name = NULL                                                                                                   \
    }
#define WHAT                                                                                                           \
    {.name = "kind", .type = SCHEMA_ENUM, .flags = SCHEMA_REQUIRED, .values = kinds, .description = "of fault"},       \
        {.name = "node", .type = SCHEMA_REF, .flags = SCHEMA_REQUIRED, .description = "which has it"},                 \
        {.name = "volume",                                                                                             \
         .type = SCHEMA_REF,                                                                                           \
         .description = "whose member on the node is meant, for member-loss and slow-disk"},                           \
        {.name = "guests",                                                                                             \
         .type = SCHEMA_ARRAY,                                                                                         \
         .flags = SCHEMA_UNIQUE,                                                                                       \
         .item = &guest_name,                                                                                          \
         .max = GUESTS_MAX,                                                                                            \
         .description = "canaries: guests that say what they have written"},                                           \
        {.name = "abort_if",                                                                                           \
         .type = SCHEMA_STRING,                                                                                        \
         .max = 255,                                                                                                   \
         .description = "when it ends before its time; 'others-down > 0' if left out",                                 \
         .example = "others-down > 0 or silent > 20s"},                                                                \
    {                                                                                                                  \
        .name = "also_unprotected", .type = SCHEMA_BOOL, .description = "guests may be hit that are not protected"     \
    }

#define DURATIONS                                                                                                      \
    {.name = "for",                                                                                                    \
     .type = SCHEMA_DURATION,                                                                                          \
     .min = FOR_MS_MIN,                                                                                                \
     .max = FAULT_MS_MAX,                                                                                              \
     .description = "how long the fault lasts; as the kind needs it if left out",                                      \
     .example = "30s"},                                                                                                \
        {.name = "delay",                                                                                              \
         .type = SCHEMA_DURATION,                                                                                      \
         .min = DELAY_MS_MIN,                                                                                          \
         .max = FAULT_STALL_MS_MAX,                                                                                    \
         .description = "of slow-disk: how long the member's server stands each time; 200ms if left out",              \
         .example = "200ms"},                                                                                          \
    {                                                                                                                  \
        .name = "heal", .type = SCHEMA_DURATION, .min = HEAL_MS_MIN, .max = HEAL_MS_MAX,                               \
        .description = "how long it may take until all is well again; 3 minutes if left out", .example = "3m"          \
    }

static const struct schema_field request_fields[] = {
    WHAT, DURATIONS, {.name = "confirm", .type = SCHEMA_BOOL, .description = "yes, this cluster is meant"}, END};
const struct schema drill_run_request = {"DrillRun", "A fault that is put in on purpose.", request_fields};

static const struct schema_field spec_fields[] = {
    WHAT,
    {.name = "for_ms", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "how long the fault lasts"},
    {.name = "delay_ms", .type = SCHEMA_INT, .description = "of slow-disk"},
    {.name = "heal_ms", .type = SCHEMA_INT, .description = "how long healing may take"},
    {.name = "conductor",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_REQUIRED,
     .description = "the node that was to conduct it"},
    {.name = "by", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "who asked for it"},
    {.name = "began", .type = SCHEMA_TIME, .flags = SCHEMA_REQUIRED, .description = "when"},
    END};
static const struct schema_field answer_fields[] = {
    {.name = "kind", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "of object"},
    {.name = "id", .type = SCHEMA_UUID, .flags = SCHEMA_REQUIRED, .description = "for ever"},
    {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "begins with the time"},
    {.name = "revision", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "of the store"},
    {.name = "fault", .type = SCHEMA_OBJECT, .description = "when the node has put it in, or why it has not"},
    {.name = "abort", .type = SCHEMA_OBJECT, .description = "who has aborted it, and when"},
    {.name = "task", .type = SCHEMA_NAME, .description = "which follows it; in the answer to the request"},
    {.name = "spec",
     .type = SCHEMA_OBJECT,
     .flags = SCHEMA_REQUIRED,
     .fields = spec_fields,
     .description = "what it is"},
    {.name = "state",
     .type = SCHEMA_OBJECT,
     .flags = SCHEMA_REQUIRED,
     .description = "phase, reason, blast radius, guests, result, timeline"},
    END};
const struct schema drill_answer = {"Drill", "A fault that was put in on purpose, and what came of it.", answer_fields};

static const char *const days[] = {"daily", "mon", "tue", "wed", "thu", "fri", "sat", "sun", NULL};
static const struct schema_field schedule_spec[] = {
    WHAT,
    DURATIONS,
    {.name = "day",
     .type = SCHEMA_ENUM,
     .flags = SCHEMA_REQUIRED,
     .values = days,
     .description = "of the week, in UTC"},
    {.name = "at",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_REQUIRED,
     .max = 5,
     .check = drill_schedule_check_at,
     .description = "when its window begins, in UTC",
     .example = "03:30"},
    {.name = "window",
     .type = SCHEMA_DURATION,
     .min = WINDOW_MS_MIN,
     .max = WINDOW_MS_MAX,
     .default_json = "3600000",
     .description = "how long it may wait until nothing speaks against it",
     .example = "2h"},
    END};
static const struct schema_field schedule_create_fields[] = {
    {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "unique among its kind"},
    {.name = "spec",
     .type = SCHEMA_OBJECT,
     .flags = SCHEMA_REQUIRED,
     .fields = schedule_spec,
     .description = "what is drilled, and when"},
    END};
const struct schema drill_schedule_create = {"DrillScheduleCreate", "A drill that comes by itself.",
                                             schedule_create_fields};
static const struct schema_field schedule_answer_fields[] = {
    {.name = "kind", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "of object"},
    {.name = "id", .type = SCHEMA_UUID, .flags = SCHEMA_REQUIRED, .description = "for ever"},
    {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "unique among its kind"},
    {.name = "revision", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "its ETag"},
    {.name = "ran",
     .type = SCHEMA_INT,
     .description = "the window in which it ran last: its beginning, in seconds since 1970"},
    {.name = "spec",
     .type = SCHEMA_OBJECT,
     .flags = SCHEMA_REQUIRED,
     .fields = schedule_spec,
     .description = "what is drilled, and when"},
    {.name = "state", .type = SCHEMA_OBJECT, .description = "drill: the last one; reason: why there is none yet"},
    END};
const struct schema drill_schedule_answer = {"DrillSchedule", "A drill that comes by itself.", schedule_answer_fields};
