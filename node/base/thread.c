#include "node/base/thread.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 8 }; /* what they put round each variable needs room */
#else
enum { SANITIZED = 1 };
#endif

int thread_start(pthread_t *thread, void *(*run)(void *), void *context)
{
    pthread_attr_t attributes;
    int rc = pthread_attr_init(&attributes);
    if (rc)
        return -rc;
    rc = pthread_attr_setstacksize(&attributes, (size_t)THREAD_STACK_BYTES * SANITIZED);
    if (!rc)
        rc = pthread_create(thread, &attributes, run, context);
    pthread_attr_destroy(&attributes);
    return -rc;
}
