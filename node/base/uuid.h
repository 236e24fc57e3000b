/* Random identifiers: RFC 9562, version 4. Threads: any. */
#ifndef NODE_BASE_UUID_H
#define NODE_BASE_UUID_H

enum { UUID_TEXT_BYTES = 37 };

/* 36 letters and a 0. */
void uuid_make(char text[UUID_TEXT_BYTES]);

#endif
