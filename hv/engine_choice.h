/* Which engine executes a guest. Thread: the main one. */
#ifndef HV_ENGINE_CHOICE_H
#define HV_ENGINE_CHOICE_H

#include "hv/guest_config.h"
#include "hv/vcpu.h"

struct err;

/* auto: KVM where the processor really virtualises (VMX or SVM), our own elsewhere; the log says which and why. An
 * engine that was asked for by name and is not there is an error that says what to do. */
const struct engine *engine_choose(enum guest_engine wanted, struct err *err);

#endif
