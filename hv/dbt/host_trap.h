/* The host's own exceptions that code made by the engine may cause: SIGFPE (#DE, #MF, #XM) and SIGILL (#UD).
 *
 * Whoever runs such code claims what happened in it, by the address, and goes on elsewhere by changing RIP in the
 * context. A trap that nobody claims is a bug of ours: it goes to whoever had the signal before, and that is the end
 * of the process.
 *
 * Threads: claim from the main thread, before vCPUs run; claimants are called on the thread that trapped, in a signal
 * handler: they touch the context and that thread's own data, nothing else. */
#ifndef HV_DBT_HOST_TRAP_H
#define HV_DBT_HOST_TRAP_H

#include <stdbool.h>
#include <ucontext.h>

struct err;

enum { HOST_TRAP_CLAIMANTS = 4 };

/* True: mine, context says where to go on. */
typedef bool host_trap_claimant(ucontext_t *context);

/* Once more with the same claimant: takes the signals again, if somebody else has them by now. Errors: -ENOSPC, and
 * what sigaction() says. */
int host_trap_claim(host_trap_claimant *claimant, struct err *err);

/* The processor's exception vector: 0, 6, 16, 19. */
static inline unsigned host_trap_vector(const ucontext_t *context)
{
    return (unsigned)context->uc_mcontext.gregs[REG_TRAPNO];
}

#endif
