/* What devices learn about the guest's health: that its kernel has panicked, that nobody in it feeds its watchdog.
 * Implemented by the machine. Called with the bus locked: note it, do nothing else. */
#ifndef HV_MACHINE_ALARM_H
#define HV_MACHINE_ALARM_H

#include <stdbool.h>

enum alarm_panic {
    ALARM_PANICKED, /* it stands, or is about to reset itself */
    ALARM_DUMPS,    /* a second kernel takes over, and writes down what the first one left */
};

struct alarm {
    /* From any thread; once until the next reset. */
    void (*panicked)(struct alarm *alarm, enum alarm_panic panic);
    /* From the main loop's. False: what kept the guest from feeding it was not the guest; it is given more time. */
    bool (*hung)(struct alarm *alarm);
};

#endif
