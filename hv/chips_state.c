#include "hv/chips_state.h"

#include <stdio.h>
#include <string.h>

#include "hv/state.h"

enum { CHIPS_VERSION = 1 };

void chips_state_reset(struct chips_state *chips)
{
    memset(chips, 0, sizeof *chips);
    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++)
        chips->ioapic.redirection[i] = 1 << 16; /* masked */
}

static void pic(struct pic_state *p, const char *which, struct state *s)
{
    struct {
        const char *name;
        uint8_t *v;
    } bytes[] = {{"irr", &p->irr},
                 {"isr", &p->isr},
                 {"imr", &p->imr},
                 {"levels", &p->last_levels},
                 {"elcr", &p->elcr},
                 {"vector-base", &p->vector_base},
                 {"priority", &p->priority_add},
                 {"init-step", &p->init_step}};
    struct {
        const char *name;
        bool *v;
    } truths[] = {{"read-isr", &p->read_isr},         {"poll", &p->poll},
                  {"special-mask", &p->special_mask}, {"auto-eoi", &p->auto_eoi},
                  {"rotate", &p->rotate_on_auto_eoi}, {"fully-nested", &p->fully_nested},
                  {"needs-icw4", &p->needs_icw4}};
    char name[STATE_NAME_MAX];
    for (unsigned i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        snprintf(name, sizeof name, "%s.%s", which, bytes[i].name);
        state_u8(s, name, bytes[i].v);
    }
    for (unsigned i = 0; i < sizeof truths / sizeof *truths; i++) {
        snprintf(name, sizeof name, "%s.%s", which, truths[i].name);
        state_bool(s, name, truths[i].v);
    }
    state_check(s, p->priority_add < 8 && p->init_step < 4, "a PIC's priority or initialisation step cannot be");
}

void chips_state_state(struct chips_state *chips, struct state *s)
{
    if (!state_begin(s, "chips", 0, CHIPS_VERSION))
        return;
    pic(&chips->pic[0], "master", s);
    pic(&chips->pic[1], "slave", s);
    struct ioapic_state *io = &chips->ioapic;
    state_u32(s, "ioapic.id", &io->id);
    state_u32(s, "ioapic.select", &io->select);
    state_u32(s, "ioapic.irr", &io->irr);
    state_u32(s, "ioapic.levels", &io->levels);
    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++) {
        char name[STATE_NAME_MAX];
        snprintf(name, sizeof name, "ioapic.pin%u", i);
        state_u64(s, name, &io->redirection[i]);
    }
    state_check(s, io->select < 256 && !(io->irr >> IRQ_GSI_COUNT), "the IOAPIC's registers cannot be");
    state_end(s);
}
