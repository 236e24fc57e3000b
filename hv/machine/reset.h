/* What the guest asks of the machine as a whole: to start again, or to be switched off.
 *
 * Called with the bus locked, from a vCPU's thread or the main loop: an implementation notes the wish and kicks the
 * vCPUs; devices are reset later, when no vCPU runs. Asking twice is asking once; off wins over restart. */
#ifndef HV_MACHINE_RESET_H
#define HV_MACHINE_RESET_H

struct reset {
    void (*restart)(struct reset *reset, const char *by); /* by: who asked, for the log: "port cf9h" */
    void (*off)(struct reset *reset, const char *by);
};

static inline void reset_restart(struct reset *reset, const char *by)
{
    reset->restart(reset, by);
}

static inline void reset_off(struct reset *reset, const char *by)
{
    reset->off(reset, by);
}

#endif
