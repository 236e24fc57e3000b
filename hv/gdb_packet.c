/* See gdb_packet.h. */
#include "hv/gdb_packet.h"

#include <string.h>

#include "node/base/hex.h"

enum { INTERRUPT = 3, ESCAPE_BIT = 0x20 };

/* ---- bytes to packets ---- */

static void begin(struct gdb_reader *r)
{
    r->reading = GDB_INSIDE;
    r->sum = 0;
    r->broken = false;
    r->packet_bytes = 0;
}

static void keep(struct gdb_reader *r, uint8_t byte)
{
    if (r->packet_bytes < GDB_PACKET_MAX)
        r->packet[r->packet_bytes++] = (char)byte;
    else
        r->broken = true;
}

static enum gdb_event between(struct gdb_reader *r, uint8_t byte)
{
    if (byte == '$')
        begin(r);
    return byte == INTERRUPT ? GDB_INTERRUPT : byte == '-' ? GDB_AGAIN : GDB_NOTHING;
}

static enum gdb_event inside(struct gdb_reader *r, uint8_t byte)
{
    if (byte == '$') { /* never inside a packet: the end of the last one was lost */
        begin(r);
        return GDB_NOTHING;
    }
    if (byte == '#') {
        r->broken = r->broken || r->reading == GDB_ESCAPED;
        r->reading = GDB_SUM_1;
        return GDB_NOTHING;
    }
    r->sum = (uint8_t)(r->sum + byte);
    if (r->reading == GDB_ESCAPED) {
        keep(r, byte ^ ESCAPE_BIT);
        r->reading = GDB_INSIDE;
    } else if (byte == '}') {
        r->reading = GDB_ESCAPED;
    } else {
        keep(r, byte);
    }
    return GDB_NOTHING;
}

enum gdb_event gdb_reader_byte(struct gdb_reader *r, uint8_t byte)
{
    int d = hex_digit((char)byte);
    switch (r->reading) {
    case GDB_BETWEEN:
        return between(r, byte);
    case GDB_INSIDE:
    case GDB_ESCAPED:
        return inside(r, byte);
    case GDB_SUM_1:
        r->broken = r->broken || d < 0;
        r->said = (uint8_t)((unsigned)d << 4);
        r->reading = GDB_SUM_2;
        return GDB_NOTHING;
    case GDB_SUM_2:
        r->reading = GDB_BETWEEN;
        r->packet[r->packet_bytes] = 0;
        return r->broken || d < 0 || (r->said | d) != r->sum ? GDB_BROKEN : GDB_PACKET;
    }
    return GDB_NOTHING;
}

/* ---- answers ---- */

static void put(struct gdb_answer *a, char c)
{
    if (a->bytes < GDB_PACKET_MAX)
        a->text[a->bytes++] = c;
    else
        a->full = true;
}

void gdb_answer_text(struct gdb_answer *a, const char *text)
{
    while (*text)
        put(a, *text++);
}

void gdb_answer_escaped(struct gdb_answer *a, const char *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        bool special = data[i] == '$' || data[i] == '#' || data[i] == '}' || data[i] == '*';
        if (special)
            put(a, '}');
        put(a, special ? (char)(data[i] ^ ESCAPE_BIT) : data[i]);
    }
}

void gdb_answer_hex(struct gdb_answer *a, const void *data, size_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i++) {
        put(a, digits[p[i] >> 4]);
        put(a, digits[p[i] & 15]);
    }
}

void gdb_answer_number(struct gdb_answer *a, uint64_t value)
{
    static const char digits[] = "0123456789abcdef";
    unsigned shift = 60;
    while (shift && !(value >> shift))
        shift -= 4;
    for (;; shift -= 4) {
        put(a, digits[value >> shift & 15]);
        if (!shift)
            return;
    }
}

/* ---- questions ---- */

bool gdb_take_number(const char **text, uint64_t *value)
{
    const char *p = *text;
    uint64_t v = 0;
    for (; hex_digit(*p) >= 0; p++) {
        if (v >> 60)
            return false;
        v = v << 4 | (uint64_t)hex_digit(*p);
    }
    if (p == *text)
        return false;
    *value = v;
    *text = p;
    return true;
}

bool gdb_take_bytes(const char **text, void *to, size_t bytes)
{
    const char *p = *text;
    uint8_t *out = to;
    for (size_t i = 0; i < bytes; i++, p += 2) {
        int high = hex_digit(p[0]), low = high < 0 ? -1 : hex_digit(p[1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    *text = p;
    return true;
}

bool gdb_take(const char **text, const char *what)
{
    size_t n = strlen(what);
    if (strncmp(*text, what, n) != 0)
        return false;
    *text += n;
    return true;
}
