/* From a member back to the struct that holds it: how callbacks find their owner. Threads: any. */
#ifndef NODE_BASE_CONTAINER_H
#define NODE_BASE_CONTAINER_H

#include <stddef.h>

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
