/* What most unit tests of the block layer need: a loop, worker, buffers, an open stack, and one-call synchronous
 * requests that turn the loop until they are done. */
#ifndef TESTS_UNIT_FIXTURE_H
#define TESTS_UNIT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "nbd/blk.h"

struct fixture {
    struct blk_env env;
    struct blk *blk;
};

/* For cmocka's setup and teardown: *state is a struct fixture without a stack. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

/* Opens, failing the test with the error's text if it cannot. */
struct blk *fixture_open(struct fixture *f, const char *stack, uint32_t flags);
/* Drains and closes f->blk. */
void fixture_close(struct fixture *f);

/* One request, to its end; returns its result. */
int fixture_io(struct fixture *f, enum blk_op op, uint32_t flags, uint64_t offset, void *data, uint64_t length_bytes);
int fixture_extents(struct fixture *f, uint64_t offset, uint64_t length_bytes, struct blk_extent *extents, uint32_t max,
                    uint32_t *count);

/* A new empty file of that size below $TMPDIR; the name is unlinked by fixture_teardown(). */
const char *fixture_file(struct fixture *f, uint64_t size_bytes);

/* Deterministic bytes: what `seed` says for a place. */
void fixture_pattern(void *data, uint64_t offset, size_t len_bytes, uint32_t seed);

#endif
