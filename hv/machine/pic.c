/* See pic.h.
 *
 * A pin that is edge-triggered latches its request at the rising edge and keeps it until it is acknowledged, so a pulse
 * counts; one that is level-triggered requests as long as it is high. */
#include "hv/machine/pic.h"

enum { NONE = -1, SPURIOUS = 7 };

/* Initialisation goes through ICW1 (port 0), then these at port 1; 0 is normal operation. */
enum { STEP_DONE = 0, STEP_ICW2 = 1, STEP_ICW3 = 2, STEP_ICW4 = 3 };

/* The pin of highest priority in mask, or NONE. Priority starts at priority_add and goes round. */
static int first(const struct pic_state *p, uint8_t mask)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned pin = (p->priority_add + i) & 7;
        if (mask >> pin & 1)
            return (int)pin;
    }
    return NONE;
}

static unsigned rank(const struct pic_state *p, int pin)
{
    return pin == NONE ? 8 : ((unsigned)pin - p->priority_add) & 7;
}

/* The request that would interrupt now, or NONE. */
static int request(const struct pic_state *p, bool master)
{
    uint8_t blocking = p->isr;
    if (p->special_mask)
        blocking &= (uint8_t)~p->imr;
    if (p->fully_nested && master)
        blocking &= (uint8_t) ~(1u << PIC_CASCADE); /* the slave may interrupt itself */
    int pin = first(p, p->irr & (uint8_t)~p->imr);
    return rank(p, pin) < rank(p, first(p, blocking)) ? pin : NONE;
}

static void set_pin(struct pic_state *p, unsigned pin, bool level)
{
    uint8_t bit = (uint8_t)(1u << pin);
    bool was = p->last_levels & bit;
    if (level)
        p->last_levels |= bit;
    else
        p->last_levels &= (uint8_t)~bit;
    if (p->elcr & bit)
        p->irr = level ? p->irr | bit : p->irr & (uint8_t)~bit;
    else if (level && !was)
        p->irr |= bit;
}

static void cascade(struct pic_state pics[2])
{
    set_pin(&pics[0], PIC_CASCADE, request(&pics[1], false) != NONE);
}

void pic_set(struct pic_state pics[2], unsigned irq, bool level)
{
    set_pin(&pics[irq >> 3], irq & 7, level);
    cascade(pics);
}

bool pic_output(const struct pic_state pics[2])
{
    return request(&pics[0], true) != NONE;
}

static void acknowledge(struct pic_state *p, int pin)
{
    uint8_t bit = (uint8_t)(1u << pin);
    if (p->auto_eoi) {
        if (p->rotate_on_auto_eoi)
            p->priority_add = (uint8_t)((pin + 1) & 7);
    } else {
        p->isr |= bit;
    }
    if (!(p->elcr & bit))
        p->irr &= (uint8_t)~bit;
}

/* INTA of one PIC: its pin, 7 if the request is gone. */
static int take(struct pic_state *p, bool master)
{
    int pin = request(p, master);
    if (pin == NONE)
        return SPURIOUS;
    acknowledge(p, pin);
    return pin;
}

int pic_accept(struct pic_state pics[2])
{
    int pin = take(&pics[0], true), vector;
    if (pin == PIC_CASCADE) {
        vector = pics[1].vector_base + take(&pics[1], false);
        set_pin(&pics[0], PIC_CASCADE, false); /* INTA lowers INT, so that what waits there makes an edge */
        cascade(pics);
    } else {
        vector = pics[0].vector_base + pin;
    }
    return vector;
}

/* ---- registers ---- */

static void initialise(struct pic_state *p, uint8_t icw1)
{
    *p = (struct pic_state){
        .elcr = p->elcr,
        .last_levels = p->last_levels,
        .irr = p->last_levels & p->elcr, /* the edge sense is cleared: a high line makes no edge */
        .init_step = STEP_ICW2,
        .needs_icw4 = icw1 & 1,
    };
}

static void end_of_interrupt(struct pic_state *p, uint8_t ocw2)
{
    bool specific = ocw2 & 0x40, rotate = ocw2 & 0x80;
    int pin = ocw2 & 7;
    if (!specific) {
        uint8_t serviced = p->isr;
        if (p->special_mask)
            serviced &= (uint8_t)~p->imr; /* a masked one is not found */
        pin = first(p, serviced);
    }
    if (pin == NONE)
        return;
    p->isr &= (uint8_t) ~(1u << pin);
    if (rotate)
        p->priority_add = (uint8_t)((pin + 1) & 7);
}

static void write_ocw2(struct pic_state *p, uint8_t value)
{
    switch (value >> 5) {
    case 0: /* rotate in automatic EOI mode: clear, set */
    case 4:
        p->rotate_on_auto_eoi = value >> 5 == 4;
        break;
    case 6: /* set priority: the pin becomes the lowest */
        p->priority_add = (value + 1) & 7;
        break;
    case 2: /* no operation */
        break;
    default:
        end_of_interrupt(p, value);
    }
}

static void write_ocw3(struct pic_state *p, uint8_t value)
{
    if (value & 0x40)
        p->special_mask = value & 0x20;
    p->poll = value & 4;
    if (!p->poll && value & 2)
        p->read_isr = value & 1;
}

/* Single mode (ICW1 bit 1) is not: the two are wired. */
static void write_icw(struct pic_state *p, uint8_t value)
{
    switch (p->init_step) {
    case STEP_ICW2:
        p->vector_base = value & 0xf8;
        p->init_step = STEP_ICW3;
        break;
    case STEP_ICW3: /* says how they are wired, which is known */
        p->init_step = p->needs_icw4 ? STEP_ICW4 : STEP_DONE;
        break;
    default:
        p->fully_nested = value & 0x10;
        p->auto_eoi = value & 2;
        p->init_step = STEP_DONE;
    }
}

void pic_write(struct pic_state pics[2], unsigned which, unsigned port, uint8_t value)
{
    struct pic_state *p = &pics[which];
    if (!port) {
        if (value & 0x10)
            initialise(p, value);
        else if (value & 8)
            write_ocw3(p, value);
        else
            write_ocw2(p, value);
    } else if (p->init_step == STEP_DONE) {
        p->imr = value;
    } else {
        write_icw(p, value);
    }
    cascade(pics);
}

/* The poll command's answer, which is an INTA, too. */
static uint8_t poll(struct pic_state pics[2], unsigned which)
{
    struct pic_state *p = &pics[which];
    int pin = request(p, which == 0);
    p->poll = false;
    if (pin == NONE)
        return 0;
    acknowledge(p, pin);
    if (which == 1)
        set_pin(&pics[0], PIC_CASCADE, false);
    cascade(pics);
    return (uint8_t)(0x80 | pin);
}

uint8_t pic_read(struct pic_state pics[2], unsigned which, unsigned port)
{
    const struct pic_state *p = &pics[which];
    if (p->poll)
        return poll(pics, which);
    if (port)
        return p->imr;
    return p->read_isr ? p->isr : p->irr;
}

void pic_write_elcr(struct pic_state pics[2], unsigned which, uint8_t value)
{
    static const uint8_t may_be_level[2] = {0xf8, 0xde}; /* not the timer, keyboard, cascade, clock and FPU */
    struct pic_state *p = &pics[which];
    uint8_t changed = p->elcr ^ (value & may_be_level[which]);
    p->elcr ^= changed;
    p->irr = (p->irr & (uint8_t)~changed) | (p->last_levels & p->elcr & changed);
    cascade(pics);
}
