/* Machine code in a test, written as assembler: PAYLOAD(name, "16", "mov ..."), then PAYLOAD_OF(name). It is copied to
 * BENCH_CODE before it runs, so it names addresses as constants. */
#ifndef TESTS_UNIT_DBT_PAYLOAD_H
#define TESTS_UNIT_DBT_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

#define PAYLOAD(name, bits, text)                                                                                      \
    __asm__(".pushsection .rodata\n.code" bits "\n" #name "_start:\n" text "\n" #name                                  \
            "_end:\n.code64\n.popsection\n");                                                                          \
    extern const uint8_t name##_start[], name##_end[]
#define PAYLOAD_OF(name) name##_start, (size_t)(name##_end - name##_start)

#endif
