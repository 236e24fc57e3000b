/* Code of any content, in the three modes: the decoder stays inside what it was given, says the same of a part as of
 * the whole, and where Zydis knows an instruction, too, both find the same end. */
#include <stdlib.h>
#include <string.h>

#include "hv/dbt/decode.h"

#ifdef FUZZ_DECODE_ZYDIS
#include <Zydis/Zydis.h>
#endif

/* libFuzzer's entry point. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

#ifdef FUZZ_DECODE_ZYDIS
/* What only Knights Corner had is another instruction elsewhere. */
static bool knights_corner(const ZydisDecodedInstruction *z)
{
    return z->encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
           (z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX &&
            (z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ||
             (z->opcode_map == ZYDIS_OPCODE_MAP_0F && (z->opcode & 0xf0) == 0x80)));
}

static void compare(const uint8_t *code, unsigned available, unsigned code_bytes, int length)
{
    static const ZydisMachineMode modes[] = {
        [2] = ZYDIS_MACHINE_MODE_LEGACY_16, [4] = ZYDIS_MACHINE_MODE_LEGACY_32, [8] = ZYDIS_MACHINE_MODE_LONG_64};
    static const ZydisStackWidth stacks[] = {
        [2] = ZYDIS_STACK_WIDTH_16, [4] = ZYDIS_STACK_WIDTH_32, [8] = ZYDIS_STACK_WIDTH_64};
    ZydisDecoder decoder;
    ZydisDecodedInstruction z;
    must(ZYAN_SUCCESS(ZydisDecoderInit(&decoder, modes[code_bytes], stacks[code_bytes])));
    if (ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, code, available, &z)) && !knights_corner(&z))
        must(length == z.length);
}
#else
static void compare(const uint8_t *code, unsigned available, unsigned code_bytes, int length)
{
    (void)code, (void)available, (void)code_bytes, (void)length;
}
#endif

/* The bytes lie at the end of an allocation: what reads beyond is found out. */
static void decode(const uint8_t *bytes, unsigned available, unsigned code_bytes)
{
    struct insn insn, again;
    uint8_t *code = malloc(available ? available : 1);
    must(code);
    memcpy(code, bytes, available);
    int length = insn_decode(&insn, code, available, code_bytes);
    must(length >= INSN_TOO_LONG && length <= INSN_BYTES_MAX && length <= (int)available);
    if (length > 0) {
        must(insn.length == length && insn.immediate_bytes < length);
        must(insn_decode(&again, code, (unsigned)length, code_bytes) == length);
        must(!memcmp(&insn, &again, sizeof insn));
        must(insn_decode(&again, code, (unsigned)length - 1, code_bytes) == INSN_SHORT);
        insn_ends_run(&insn);
        compare(code, available, code_bytes, length);
    }
    free(code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (size_t at = 0; at < size && at < 64; at++)
        for (unsigned code_bytes = 2; code_bytes <= 8; code_bytes *= 2)
            decode(data + at, size - at < INSN_BYTES_MAX ? (unsigned)(size - at) : INSN_BYTES_MAX, code_bytes);
    return 0;
}
