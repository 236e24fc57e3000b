/* Packets of the GDB remote serial protocol: bytes to packets, and answers to bytes.
 *
 *     $ text # two hex digits        } before a byte of binary data: the byte XOR 20h
 *     +  -                           taken, or say it again; a lone 03h interrupts
 *
 * Source: "Debugging with GDB", appendix E, Overview. Threads: the owner's. */
#ifndef HV_GDB_PACKET_H
#define HV_GDB_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GDB_PACKET_MAX = 0x2000 /* letters of a packet's text, either way */ };

enum gdb_event {
    GDB_NOTHING,
    GDB_PACKET,    /* packet has a text of packet_bytes, and a zero behind it */
    GDB_BROKEN,    /* one came that is too long or has the wrong sum */
    GDB_AGAIN,     /* '-': the last answer did not arrive */
    GDB_INTERRUPT, /* 03h */
};

enum gdb_reading { GDB_BETWEEN, GDB_INSIDE, GDB_ESCAPED, GDB_SUM_1, GDB_SUM_2 };

struct gdb_reader { /* starts as zeroes */
    enum gdb_reading reading;
    uint8_t sum, said;
    bool broken;
    size_t packet_bytes;
    char packet[GDB_PACKET_MAX + 1];
};

enum gdb_event gdb_reader_byte(struct gdb_reader *reader, uint8_t byte);

/* An answer's text; what does not fit makes it `full`, and it is cut there. */
struct gdb_answer {
    size_t bytes;
    bool full;
    char text[GDB_PACKET_MAX];
};

void gdb_answer_text(struct gdb_answer *answer, const char *text);
void gdb_answer_escaped(struct gdb_answer *answer, const char *data, size_t bytes);
void gdb_answer_hex(struct gdb_answer *answer, const void *data, size_t bytes); /* two digits a byte, in their order */
void gdb_answer_number(struct gdb_answer *answer, uint64_t value);              /* no leading zeroes */

/* Hex at *text, moved behind it. gdb_take_number: false if there is none or it does not fit. */
bool gdb_take_number(const char **text, uint64_t *value);
bool gdb_take_bytes(const char **text, void *to, size_t bytes);
/* The letter, or a text, is there: moves behind it. */
bool gdb_take(const char **text, const char *what);

#endif
