/* Threads with a stack of a size that is known: no thread here goes deep, and a stack of the usual 8 MiB is given huge
 * pages by kernels that give them to everybody, 2 MiB for the first byte of each. Threads: any. */
#ifndef NODE_BASE_THREAD_H
#define NODE_BASE_THREAD_H

#include <pthread.h>

enum { THREAD_STACK_BYTES = 512 << 10 };

/* 0 or -errno. To be joined. */
int thread_start(pthread_t *thread, void *(*run)(void *context), void *context);

#endif
