/* What a server proves with that it understood a WebSocket's request: RFC 6455, 4.2.2. For servers, which answer with
 * it, and clients, which look for it. Threads: any. */
#ifndef NODE_BASE_WEBSOCKET_KEY_H
#define NODE_BASE_WEBSOCKET_KEY_H

#include <stdbool.h>

enum { WEBSOCKET_KEY_ROOM = 32 };

/* key: the request's Sec-WebSocket-Key, up to 24 letters. Fills Sec-WebSocket-Accept. False: there is no SHA-1. */
bool websocket_key_accept(const char *key, char accept[WEBSOCKET_KEY_ROOM]);

#endif
