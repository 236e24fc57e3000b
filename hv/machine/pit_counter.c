/* See pit_counter.h. */
#include "hv/machine/pit_counter.h"

enum mode { ON_TERMINAL_COUNT, ONE_SHOT, RATE, SQUARE, STROBE, TRIGGERED_STROBE };

static bool is_periodic(const struct pit_counter *c)
{
    return c->mode == RATE || c->mode == SQUARE;
}

/* Does its gate start it (a rising edge), instead of letting it count? */
static bool is_triggered(const struct pit_counter *c)
{
    return c->mode == ONE_SHOT || c->mode == TRIGGERED_STROBE;
}

static uint32_t modulus(const struct pit_counter *c)
{
    return c->bcd ? 10000 : 65536;
}

static uint16_t to_bcd(uint32_t v)
{
    return (uint16_t)(v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

static uint32_t from_bcd(uint16_t v)
{
    return (v >> 12) * 1000u + (v >> 8 & 15u) * 100 + (v >> 4 & 15u) * 10 + (v & 15u);
}

/* A new count of a periodic mode takes over when the period that runs has ended. */
static void catch_up(struct pit_counter *c, uint64_t now)
{
    if (!c->next || now < c->next_at)
        return;
    c->initial = c->next;
    c->start = c->next_at;
    c->next = 0;
}

/* Ticks since the count was loaded. */
static uint64_t elapsed(const struct pit_counter *c, uint64_t now)
{
    if (!c->counting)
        return c->passed;
    return now > c->start ? now - c->start : 0;
}

static uint16_t value(struct pit_counter *c, uint64_t now)
{
    catch_up(c, now);
    uint64_t t = elapsed(c, now);
    uint32_t count;
    if (c->mode == RATE)
        count = c->initial - (uint32_t)(t % c->initial);
    else if (c->mode == SQUARE) /* goes by twos, twice a period */
        count = (c->initial & ~1u) - (uint32_t)(2 * t % (c->initial & ~1u ? c->initial & ~1u : 1));
    else
        count = (uint32_t)((c->initial + modulus(c) - t % modulus(c)) % modulus(c));
    return c->bcd ? to_bcd(count) : (uint16_t)count;
}

bool pit_counter_output(struct pit_counter *c, uint64_t now)
{
    catch_up(c, now);
    if (!c->loaded || (!c->counting && c->mode != ON_TERMINAL_COUNT))
        return c->mode != ON_TERMINAL_COUNT;
    uint64_t t = elapsed(c, now);
    switch (c->mode) {
    case ON_TERMINAL_COUNT:
    case ONE_SHOT:
        return t >= c->initial;
    case RATE:
        return t % c->initial != c->initial - 1 || c->initial == 1; /* 1 is not allowed */
    case SQUARE:
        return t % c->initial < (c->initial + 1) / 2;
    default:
        return t != c->initial; /* low for the one tick of the strobe */
    }
}

uint64_t pit_counter_next_rise(struct pit_counter *c, uint64_t now)
{
    catch_up(c, now);
    if (!c->loaded || !c->counting)
        return 0;
    uint64_t at = c->start + c->initial;
    if (is_periodic(c)) {
        if (c->next)
            return c->next_at;
        return now < at ? at : now + c->initial - (now - c->start) % c->initial;
    }
    at += c->mode == STROBE || c->mode == TRIGGERED_STROBE; /* at the end of the pulse */
    return now < at ? at : 0;
}

/* ---- loading ---- */

static void load(struct pit_counter *c, uint16_t count, uint64_t now)
{
    uint32_t initial = c->bcd ? from_bcd(count) % 10000 : count;
    initial = initial ? initial : modulus(c);
    bool runs = c->loaded && c->counting;
    catch_up(c, now);
    if (is_periodic(c) && runs) {
        uint64_t t = elapsed(c, now);
        c->next = initial;
        c->next_at = now + c->initial - t % c->initial;
        return;
    }
    if (is_triggered(c) && runs) { /* for the next trigger */
        c->next = initial;
        c->next_at = UINT64_MAX;
        return;
    }
    c->initial = initial;
    c->next = 0;
    c->loaded = true;
    c->start = now;
    c->passed = 0;
    c->counting = !is_triggered(c) && c->gate;
}

void pit_counter_write(struct pit_counter *c, uint8_t byte, uint64_t now)
{
    if (c->access == PIT_LOW) {
        load(c, byte, now);
    } else if (c->access == PIT_HIGH) {
        load(c, (uint16_t)(byte << 8), now);
    } else if (!c->high_next_write) {
        c->low_written = byte;
        c->high_next_write = true;
        if (c->mode == ON_TERMINAL_COUNT) { /* the first byte stops it */
            c->loaded = c->counting = false;
            c->passed = 0;
        }
    } else {
        c->high_next_write = false;
        load(c, (uint16_t)(byte << 8 | c->low_written), now);
    }
}

void pit_counter_set_gate(struct pit_counter *c, bool gate, uint64_t now)
{
    bool rises = gate && !c->gate;
    if (gate == c->gate)
        return;
    catch_up(c, now);
    uint64_t t = elapsed(c, now);
    c->gate = gate;
    if (!c->loaded)
        return;
    if (is_triggered(c)) {
        if (!rises)
            return;
        if (c->next)
            c->initial = c->next;
        c->next = 0;
        c->start = now;
        c->counting = true;
    } else if (is_periodic(c)) { /* a low gate puts the output up; a rising one starts anew */
        c->initial = c->next ? c->next : c->initial;
        c->next = 0;
        c->start = now;
        c->passed = 0;
        c->counting = gate;
    } else if (rises) {
        c->start = now - c->passed;
        c->counting = true;
    } else {
        c->passed = t;
        c->counting = false;
    }
}

/* ---- control ---- */

void pit_counter_reset(struct pit_counter *c)
{
    *c = (struct pit_counter){.mode = SQUARE, .access = PIT_LOW_HIGH, .gate = true, .initial = 65536};
}

void pit_counter_latch_count(struct pit_counter *c, uint64_t now)
{
    if (c->count_latched)
        return; /* until it is read */
    c->latched_count = value(c, now);
    c->count_latched = true;
}

void pit_counter_latch_status(struct pit_counter *c, uint64_t now)
{
    if (c->status_latched)
        return;
    bool null_count = !c->loaded || c->next;
    c->latched_status =
        (uint8_t)(pit_counter_output(c, now) << 7 | null_count << 6 | c->access << 4 | c->mode << 1 | c->bcd);
    c->status_latched = true;
}

void pit_counter_control(struct pit_counter *c, uint8_t word, uint64_t now)
{
    uint8_t mode = word >> 1 & 7;
    if ((word >> 4 & 3) == PIT_LATCH) {
        pit_counter_latch_count(c, now);
        return;
    }
    c->access = word >> 4 & 3;
    c->mode = mode > TRIGGERED_STROBE ? mode & 3 : mode; /* 6 and 7 are 2 and 3 */
    c->bcd = word & 1;
    c->initial = modulus(c);
    c->loaded = c->counting = false;
    c->high_next_write = c->high_next_read = false;
    c->count_latched = c->status_latched = false;
    c->next = 0;
    c->passed = 0;
}

uint8_t pit_counter_read(struct pit_counter *c, uint64_t now)
{
    if (c->status_latched) {
        c->status_latched = false;
        return c->latched_status;
    }
    uint16_t count = c->count_latched ? c->latched_count : value(c, now);
    bool high = c->access == PIT_HIGH || (c->access == PIT_LOW_HIGH && c->high_next_read);
    if (c->access == PIT_LOW_HIGH)
        c->high_next_read = !c->high_next_read;
    if (c->access != PIT_LOW_HIGH || high)
        c->count_latched = false;
    return (uint8_t)(high ? count >> 8 : count);
}

bool pit_counter_is_sane(const struct pit_counter *c)
{
    return c->mode <= TRIGGERED_STROBE && c->access >= PIT_LOW && c->access <= PIT_LOW_HIGH && c->initial &&
           c->initial <= modulus(c) && c->next <= modulus(c);
}
