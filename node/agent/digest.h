/* Short names for long ids: an interface's name has fifteen letters, a MAC address six octets, an id thirty-six. Not
 * for secrets. Threads: any. */
#ifndef NODE_AGENT_DIGEST_H
#define NODE_AGENT_DIGEST_H

#include <stdint.h>

/* 64 bits of purpose, id and index; never changes from version to version, as names of devices that live are made of
 * it. */
uint64_t digest_of_id(const char *purpose, const char *id, unsigned index);

uint64_t digest_of_text(const char *text);

#endif
