/* What a guest relies on, and whether another process has it: asked before anything is copied.
 *
 *     {"name", "engine", "vcpus",
 *      "cpu": {"model", "vendor", "xcr0", "tsc-khz", "features": [[leaf, subleaf, eax, ebx, ecx, edx], ...]},
 *      "slots": [{"gpa", "bytes", "rom"}], "devices": [of board_devices()],
 *      "nets": [{"mac", "mtu"}]}
 *
 * The destination may have more (features of the processor, of devices); what it lacks, or has otherwise, is listed
 * whole.
 *
 * Threads: main. */
#ifndef HV_MIGRATE_FACTS_H
#define HV_MIGRATE_FACTS_H

struct cpu_model;
struct err;
struct guest_config;
struct json_t;
struct memory;

struct migrate_facts {
    const struct guest_config *config;
    const struct cpu_model *model;
    const struct memory *memory;
    const char *engine;
};

/* A new object. devices: board_devices(), taken over. NULL: no memory. */
struct json_t *migrate_facts_of(const struct migrate_facts *guest, struct json_t *devices);
/* source: foreign. here: of migrate_facts_of(). -ENOTSUP with a text that lists what does not fit. */
int migrate_facts_fit(const struct json_t *source, const struct json_t *here, struct err *err);

#endif
