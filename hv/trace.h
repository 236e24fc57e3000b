/* What can be watched of a guest while it runs, by noun: chosen once, at the start; one branch where nothing is wanted.
 *
 *     level   what is said                                               for example
 *     debug   what happens now and then                                  a device is reset, a BAR moves, an unknown
 * port trace   that, and everything                                       each access to a register, each interrupt
 *
 * A guest decides how much happens, so each category says a few thousand lines a second at the most, and how many it
 * left out. Threads: any, but for trace_choose(). */
#ifndef HV_TRACE_H
#define HV_TRACE_H

#include <stdbool.h>
#include <stdint.h>

struct err;

enum trace_category {
    TRACE_BOOT,    /* what is entered where */
    TRACE_BUS,     /* ports and registers in memory */
    TRACE_CONTROL, /* what was asked on the control socket */
    TRACE_GDB,     /* a debugger's packets */
    TRACE_IRQ,     /* lines and messages of devices */
    TRACE_PCI,     /* configuration */
    TRACE_VCPU,    /* going and standing; exceptions and interrupts as our own engine delivers them; unknown MSRs */
    TRACE_VIRTIO,  /* status, features, queues, kicks */
    TRACE_CATEGORIES,
};

enum trace_level { TRACE_NOTHING, TRACE_DEBUG, TRACE_EVERYTHING };

extern uint8_t trace_levels[TRACE_CATEGORIES]; /* enum trace_level */

/* "pci,irq=trace": CATEGORY[=debug|trace], or "all". debug if it does not say. Before other threads are made. Errors:
 * -EINVAL with a text that names the categories. */
int trace_choose(const char *text, struct err *err);

__attribute__((format(printf, 2, 3))) void trace_line(enum trace_category category, const char *format, ...);
/* Once for each key (of the first few hundred). */
__attribute__((format(printf, 3, 4))) void trace_line_once(enum trace_category category, uint64_t key,
                                                           const char *format, ...);

#define trace_wants(category, level) __builtin_expect(trace_levels[category] >= (level), 0)
#define trace_debug(category, ...)                                                                                     \
    do {                                                                                                               \
        if (trace_wants(category, TRACE_DEBUG))                                                                        \
            trace_line(category, __VA_ARGS__);                                                                         \
    } while (0)
#define trace_once(category, key, ...)                                                                                 \
    do {                                                                                                               \
        if (trace_wants(category, TRACE_DEBUG))                                                                        \
            trace_line_once(category, key, __VA_ARGS__);                                                               \
    } while (0)
#define trace_all(category, ...)                                                                                       \
    do {                                                                                                               \
        if (trace_wants(category, TRACE_EVERYTHING))                                                                   \
            trace_line(category, __VA_ARGS__);                                                                         \
    } while (0)

#endif
