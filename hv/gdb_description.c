/* See gdb_registers.h: target.xml, written once from a list of names.
 *
 * Source: "Debugging with GDB", appendix G; features of i386 that GDB knows, and one of our own. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hv/gdb_registers.h"

enum { TEXT_BYTES = 8192 };

struct list { /* of registers with one type, in their order; names are separated by blanks */
    const char *names, *type, *group;
};

struct flag {
    const char *name;
    unsigned bit;
};

static const struct flag eflags[] = {{"CF", 0},  {"", 1},    {"PF", 2},   {"AF", 4},   {"ZF", 6},  {"SF", 7},
                                     {"TF", 8},  {"IF", 9},  {"DF", 10},  {"OF", 11},  {"NT", 14}, {"RF", 16},
                                     {"VM", 17}, {"AC", 18}, {"VIF", 19}, {"VIP", 20}, {"ID", 21}, {0}};
static const struct flag mxcsr[] = {{"IE", 0},  {"DE", 1},  {"ZE", 2},  {"OE", 3},  {"UE", 4},
                                    {"PE", 5},  {"DAZ", 6}, {"IM", 7},  {"DM", 8},  {"ZM", 9},
                                    {"OM", 10}, {"UM", 11}, {"PM", 12}, {"FZ", 15}, {0}};

static const struct list core[] = {
    {"rax rbx rcx rdx rsi rdi", "int64", NULL},
    {"rbp rsp", "data_ptr", NULL},
    {"r8 r9 r10 r11 r12 r13 r14 r15", "int64", NULL},
    {"rip", "code_ptr", NULL},
    {"eflags", "i386_eflags", NULL},
    {"cs ss ds es fs gs", "int32", NULL},
    {"st0 st1 st2 st3 st4 st5 st6 st7", "i387_ext", NULL},
    {"fctrl fstat ftag fiseg fioff foseg fooff fop", "int", "float"},
    {0},
};
static const struct list sse[] = {
    {"xmm0 xmm1 xmm2 xmm3 xmm4 xmm5 xmm6 xmm7 xmm8 xmm9 xmm10 xmm11 xmm12 xmm13 xmm14 xmm15", "vec128", NULL},
    {"mxcsr", "i386_mxcsr", "vector"},
    {0},
};
static const struct list segments[] = {{"fs_base gs_base", "data_ptr", NULL}, {0}};
static const struct list system_registers[] = {
    {"k_gs_base", "data_ptr", NULL}, {"cr0 cr2 cr3 cr4 cr8 efer", "int64", NULL}, {0}};

struct writer {
    size_t at;
    unsigned number; /* of the next register */
    char text[TEXT_BYTES];
};

__attribute__((format(printf, 2, 3))) static void put(struct writer *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(w->text + w->at, sizeof w->text - w->at, format, args);
    va_end(args);
    if (n > 0)
        w->at += (size_t)n < sizeof w->text - w->at ? (size_t)n : sizeof w->text - w->at - 1;
}

static void put_flags(struct writer *w, const char *id, const struct flag *f)
{
    put(w, "<flags id=\"%s\" size=\"4\">", id);
    for (; f->name; f++)
        put(w, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", f->name, f->bit, f->bit);
    put(w, "</flags>");
}

/* What an SSE register may be looked at as. */
static void put_vector(struct writer *w)
{
    static const struct {
        const char *id, *type, *field;
        unsigned count;
    } views[] = {{"v4f", "ieee_single", "v4_float", 4}, {"v2d", "ieee_double", "v2_double", 2},
                 {"v16i8", "int8", "v16_int8", 16},     {"v8i16", "int16", "v8_int16", 8},
                 {"v4i32", "int32", "v4_int32", 4},     {"v2i64", "int64", "v2_int64", 2}};
    enum { VIEWS = sizeof views / sizeof *views };
    for (unsigned i = 0; i < VIEWS; i++)
        put(w, "<vector id=\"%s\" type=\"%s\" count=\"%u\"/>", views[i].id, views[i].type, views[i].count);
    put(w, "<union id=\"vec128\">");
    for (unsigned i = 0; i < VIEWS; i++)
        put(w, "<field name=\"%s\" type=\"%s\"/>", views[i].field, views[i].id);
    put(w, "<field name=\"uint128\" type=\"uint128\"/></union>");
}

static void put_registers(struct writer *w, const struct list *list)
{
    for (; list->names; list++)
        for (const char *name = list->names; *name; name += strspn(name, " ")) {
            size_t letters = strcspn(name, " ");
            put(w, "<reg name=\"%.*s\" bitsize=\"%u\" type=\"%s\"", (int)letters, name,
                8 * gdb_register_bytes(w->number++), list->type);
            if (list->group)
                put(w, " group=\"%s\"", list->group);
            put(w, "/>");
            name += letters;
        }
}

const char *gdb_registers_description(void)
{
    static struct writer w;
    if (w.at)
        return w.text;
    put(&w, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
            "<target><architecture>i386:x86-64</architecture><feature name=\"org.gnu.gdb.i386.core\">");
    put_flags(&w, "i386_eflags", eflags);
    put_registers(&w, core);
    put(&w, "</feature><feature name=\"org.gnu.gdb.i386.sse\">");
    put_vector(&w);
    put_flags(&w, "i386_mxcsr", mxcsr);
    put_registers(&w, sse);
    put(&w, "</feature><feature name=\"org.gnu.gdb.i386.segments\">");
    put_registers(&w, segments);
    put(&w, "</feature><feature name=\"org.drover.system\">");
    put_registers(&w, system_registers);
    put(&w, "</feature></target>");
    return w.text;
}
