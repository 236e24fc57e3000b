/* See host_trap.h. */
#include "hv/dbt/host_trap.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

#include "node/base/err.h"

#define COUNT(list) (sizeof list / sizeof *(list))

static const int signals[] = {SIGFPE, SIGILL};
static struct sigaction before[COUNT(signals)];
static host_trap_claimant *claimants[HOST_TRAP_CLAIMANTS];
static unsigned claimant_count;

/* Returning executes the instruction again, this time for whom the signal belonged to. */
static void give_back(int signal)
{
    for (size_t i = 0; i < COUNT(signals); i++)
        if (signals[i] == signal)
            sigaction(signal, &before[i], NULL);
}

static void trapped(int signal, siginfo_t *info, void *context)
{
    for (unsigned i = 0; i < claimant_count && info->si_code > 0; i++)
        if (claimants[i](context))
            return;
    give_back(signal);
}

static int install(struct err *err)
{
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK}, now;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < COUNT(signals); i++) {
        if (sigaction(signals[i], &action, &now))
            return err_set(err, errno, "cannot catch the host's exceptions: %s", strerror(errno));
        if (!(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != trapped)
            before[i] = now;
    }
    return 0;
}

int host_trap_claim(host_trap_claimant *claimant, struct err *err)
{
    unsigned i = 0;
    while (i < claimant_count && claimants[i] != claimant)
        i++;
    if (i == HOST_TRAP_CLAIMANTS)
        return err_set(err, ENOSPC, "more than %d parts of the engine want the host's exceptions", HOST_TRAP_CLAIMANTS);
    claimants[i] = claimant;
    if (i == claimant_count)
        claimant_count++;
    return install(err);
}
