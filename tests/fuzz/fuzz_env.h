/* What the fuzz targets share: one environment for the whole run, quiet log. */
#ifndef TESTS_FUZZ_FUZZ_ENV_H
#define TESTS_FUZZ_FUZZ_ENV_H

#include <stddef.h>
#include <stdint.h>

#include "nbd/blk.h"

/* libFuzzer's entry point. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Made at the first call. */
const struct blk_env *fuzz_env(void);

#endif
