/* The state of a guest: any stream is loaded or refused with a sentence. The checksum is put right, or nothing would
 * ever get past it.
 *
 * First byte even: the rest is the stream. Odd: the rest are changes (u16 where, u8 what) of a stream that is valid. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "hv/chips_state.h"
#include "hv/cpu_state.h"
#include "hv/state.h"
#include "node/base/err.h"
#include "tests/fuzz/fuzz_env.h"

static const char head[] = "drover-state\1\0\0";

static void load(uint8_t *stream, size_t bytes)
{
    struct cpu_state cpu;
    struct chips_state chips;
    struct err err = {0};
    uint32_t sum = (uint32_t)crc32_z(0, stream, bytes - sizeof sum);
    memcpy(stream + bytes - sizeof sum, &sum, sizeof sum);
    struct state *s = state_load_new(stream, bytes);
    cpu_state_reset(&cpu, 0);
    chips_state_reset(&chips);
    cpu_state_state(&cpu, 0, s);
    chips_state_state(&chips, s);
    if (state_fini(s, NULL, NULL, &err) ? !*err.text : cpu.activity > CPU_UNINITIALIZED || cpu.cr8 > 15)
        abort();
    state_free(s);
}

static void load_changed(const uint8_t *changes, size_t count)
{
    struct cpu_state cpu;
    struct chips_state chips;
    struct err err;
    const void *data;
    size_t bytes;
    struct state *s = state_save_new();
    cpu_state_reset(&cpu, 0);
    chips_state_reset(&chips);
    cpu_state_state(&cpu, 0, s);
    chips_state_state(&chips, s);
    if (state_fini(s, &data, &bytes, &err))
        abort();
    uint8_t *stream = malloc(bytes);
    memcpy(stream, data, bytes);
    for (; count >= 3; changes += 3, count -= 3)
        stream[(changes[0] | changes[1] << 8) % bytes] = changes[2];
    load(stream, bytes);
    free(stream);
    state_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    if (*data & 1) {
        load_changed(data + 1, size - 1);
        return 0;
    }
    size_t bytes = sizeof head + size - 1 + 4;
    uint8_t *stream = calloc(1, bytes);
    memcpy(stream, head, sizeof head);
    memcpy(stream + sizeof head, data + 1, size - 1);
    load(stream, bytes);
    free(stream);
    return 0;
}
