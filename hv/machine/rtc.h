/* The MC146818 clock with its CMOS memory: ports 70h (index) and 71h (data), IRQ 8.
 *
 * The clock is the host's real time plus an offset, which changes when the guest sets its clock and is what is saved: a
 * guest that was loaded, moved or paused reads the right time. The periodic interrupt counts virtual time.
 *
 * Threads: with the bus locked; main for new and free.
 * Source: Motorola MC146818 data sheet; Intel 82371AB data sheet, "RTC". CMOS cells: what SeaBIOS reads. */
#ifndef HV_MACHINE_RTC_H
#define HV_MACHINE_RTC_H

#include <stdint.h>

struct bus;
struct device;
struct err;
struct irq;
struct rtc;
struct timers;

enum { RTC_PORT = 0x70, RTC_GSI = 8, RTC_CENTURY = 0x32 };

/* Nanoseconds since 1970, UTC. NULL stands for the system's clock. */
typedef uint64_t rtc_wall_clock(void);

struct rtc *rtc_new(struct bus *bus, struct irq *irq, struct timers *timers, rtc_wall_clock *wall, struct err *err);
void rtc_free(struct rtc *rtc);
struct device *rtc_device(struct rtc *rtc);

/* What firmware finds in the cells: RAM below and above 4 GiB, processors; it boots from disk, then CD, then network.
 * Before the guest runs; a reset leaves it. */
void rtc_describe(struct rtc *rtc, uint64_t low_bytes, uint64_t high_bytes, unsigned vcpus);

#endif
