/* The head of an HTTP/1.1 request (RFC 9112 sections 2 to 5): request line and fields, judged once.
 *
 * Strict where leniency has been a hole: line ends are CRLF, no folded lines, no space before a colon, one Host, no
 * Content-Length beside Transfer-Encoding, a length of digits only, a path without coded '/' or control bytes.
 * Threads: pure. */
#ifndef NODE_AGENT_HTTP_PARSE_H
#define NODE_AGENT_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/agent/http_server.h"

enum { HTTP_HEAD_LINES_MAX = 100 };

struct http_head {
    bool keep_alive;
    bool expects_continue;
    uint64_t content_length; /* 0: none */
    const char *websocket_key, *websocket_protocols;
};

/* What was wrong, as an answer to it. */
struct http_fault {
    int status;
    const char *code, *detail;
};

/* Where the head in text[0..len) ends (behind the empty line); 0: not yet. *scanned: what is known not to hold the end;
 * starts at 0. */
size_t http_head_end(const char *text, size_t len_bytes, size_t *scanned);

/* Parses the head text[0..len), which ends with an empty line, in place: request's texts lie in it afterwards. Fills
 * method, path, query, field and upgrade of the request, and *head. False: *fault says why. */
bool http_parse_head(char *text, size_t len_bytes, struct http_request *request, struct http_head *head,
                     struct http_fault *fault);

/* True if the comma-separated list (NULL: empty) has the word, in capitals or not. */
bool http_list_has(const char *list, const char *word);

#endif
