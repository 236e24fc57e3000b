/* Dates as the MC146818's registers hold them, and the seconds since 1970 that they mean (UTC, Gregorian).
 *
 * Values out of range (a guest writes what it likes) are taken for what they add up to. Threads: any. */
#ifndef HV_MACHINE_RTC_CALENDAR_H
#define HV_MACHINE_RTC_CALENDAR_H

#include <stdint.h>

struct rtc_calendar {
    unsigned year, month, day; /* month and day from 1 */
    unsigned weekday;          /* 1 is Sunday */
    unsigned hour, minute, second;
};

enum rtc_form { RTC_BINARY = 0x04, RTC_24_HOURS = 0x02 }; /* bits of register B */

struct rtc_calendar rtc_calendar_of(uint64_t seconds);
uint64_t rtc_calendar_seconds(const struct rtc_calendar *t);

/* A register's byte, and back. */
uint8_t rtc_number(unsigned value, enum rtc_form form);
unsigned rtc_number_of(uint8_t byte, enum rtc_form form);
uint8_t rtc_hour(unsigned hour, enum rtc_form form);
unsigned rtc_hour_of(uint8_t byte, enum rtc_form form);

/* The first second after `after` whose time of day is that (-1: any); UINT64_MAX: there is none. */
uint64_t rtc_next_match(uint64_t after, int hour, int minute, int second);

#endif
