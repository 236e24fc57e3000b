/* See rtc_calendar.h. Days are counted from 1 March of year 0, so that the leap day is the last of its year. */
#include "hv/machine/rtc_calendar.h"

enum { MINUTE = 60, HOUR = 3600, DAY = 86400, DAYS_TO_1970 = 719468, ERA_DAYS = 146097, PM = 0x80 };

static uint64_t days_of(uint64_t year, unsigned month, unsigned day)
{
    uint64_t y = year - (month <= 2);
    uint64_t day_of_year = (153 * (uint64_t)((month + 9) % 12) + 2) / 5 + day - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 + day_of_year - DAYS_TO_1970;
}

struct rtc_calendar rtc_calendar_of(uint64_t seconds)
{
    uint64_t days = seconds / DAY + DAYS_TO_1970, rest = seconds % DAY;
    uint64_t era = days / ERA_DAYS, day_of_era = days % ERA_DAYS;
    uint64_t year = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / (ERA_DAYS - 1)) / 365;
    uint64_t day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    unsigned shifted = (unsigned)((5 * day_of_year + 2) / 153); /* 0 is March */
    unsigned month = shifted < 10 ? shifted + 3 : shifted - 9;
    return (struct rtc_calendar){
        .year = (unsigned)(year + 400 * era + (month <= 2)),
        .month = month,
        .day = (unsigned)(day_of_year - (153 * shifted + 2) / 5 + 1),
        .weekday = (unsigned)((seconds / DAY + 4) % 7 + 1), /* 1 January 1970 was a Thursday */
        .hour = (unsigned)(rest / HOUR),
        .minute = (unsigned)(rest / MINUTE % 60),
        .second = (unsigned)(rest % 60),
    };
}

uint64_t rtc_calendar_seconds(const struct rtc_calendar *t)
{
    unsigned month = t->month ? (t->month - 1) % 12 + 1 : 1;
    uint64_t year = t->year < 1970 ? 1970 : t->year;
    return days_of(year, month, t->day ? t->day : 1) * DAY + t->hour * (uint64_t)HOUR + t->minute * (uint64_t)MINUTE +
           t->second;
}

uint8_t rtc_number(unsigned value, enum rtc_form form)
{
    return (uint8_t)(form & RTC_BINARY ? value : value / 10 % 10 << 4 | value % 10);
}

unsigned rtc_number_of(uint8_t byte, enum rtc_form form)
{
    return form & RTC_BINARY ? byte : (byte >> 4) * 10u + (byte & 15u);
}

uint8_t rtc_hour(unsigned hour, enum rtc_form form)
{
    if (form & RTC_24_HOURS)
        return rtc_number(hour, form);
    unsigned twelve = hour % 12 ? hour % 12 : 12;
    return rtc_number(twelve, form) | (hour >= 12 ? PM : 0);
}

unsigned rtc_hour_of(uint8_t byte, enum rtc_form form)
{
    if (form & RTC_24_HOURS)
        return rtc_number_of(byte, form);
    return rtc_number_of(byte & 0x7f, form) % 12 + (byte & PM ? 12 : 0);
}

uint64_t rtc_next_match(uint64_t after, int hour, int minute, int second)
{
    uint64_t t = after + 1;
    while (t <= after + DAY) { /* skips what cannot match: a few hundred steps at most */
        if (hour >= 0 && t % DAY / HOUR != (uint64_t)hour)
            t += HOUR - t % HOUR;
        else if (minute >= 0 && t % HOUR / MINUTE != (uint64_t)minute)
            t += MINUTE - t % MINUTE;
        else if (second >= 0 && t % MINUTE != (uint64_t)second)
            t++;
        else
            return t;
    }
    return UINT64_MAX;
}
