/* Hexadecimal digits, as keys, addresses, URIs and debuggers write them. Threads: any. */
#ifndef NODE_BASE_HEX_H
#define NODE_BASE_HEX_H

#include <stddef.h>
#include <stdint.h>

/* 0 to 15, small letters or capitals; -1: it is none. */
static inline int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Two small letters or digits a byte, and a 0 behind; text has room for 2 * len_bytes + 1. Returns text. */
static inline char *hex_text(const uint8_t *bytes, size_t len_bytes, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len_bytes; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 0xf];
    }
    text[2 * len_bytes] = 0;
    return text;
}

#endif
