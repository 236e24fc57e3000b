/* Quantities as people write them: sizes (4K, 1.5G), durations (100ms, 2s). Threads: any. */
#ifndef NODE_BASE_UNITS_H
#define NODE_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

struct err;

/* Binary suffixes K M G T P E (optionally followed by iB or B); a fraction is allowed before a suffix.
 * Errors: -EINVAL not a size, -ERANGE over 2^63-1; *bytes untouched then. */
int units_parse_size(const char *text, uint64_t *bytes, struct err *err);

/* Suffixes ns us ms s m h; without one, seconds. Errors as above; *ns untouched then. */
int units_parse_duration(const char *text, uint64_t *ns, struct err *err);

/* "1.5 GiB"; writes at most len bytes with the 0 and returns buffer. */
char *units_format_size(uint64_t bytes, char *buffer, size_t len);

#endif
