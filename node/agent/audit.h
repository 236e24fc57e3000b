/* The audit log: one JSON line for every change that somebody asked for, and for every refusal of one. Each line
 * carries the SHA-256 of the line before it, so that a line that was changed, taken out or put in shows
 * (audit_verify()). Who can write the file can write it anew from some line on: ship the lines, or their last hash,
 * elsewhere if that matters.
 *
 *     {"seq":7,"time":"2026-11-26T04:00:00.123Z","who":"token:alice","role":"operator","from":"192.0.2.7:41000",
 *      "method":"POST","path":"/v1/guests","target":"web-1","why":"more
 * load","status":201,"code":null,"prev":"9f86..."}
 *
 * Durability: audit_write() returns when the line is in the kernel, before the answer leaves: it outlives the agent. It
 * is on the disk within audit_config.sync_ms (one second): a loss of power may take the lines of the last second. A
 * change whose line the disk refuses is told to the journal instead, and no further change is let in until the file
 * takes lines again (api.h).
 *
 * Files: PATH, and PATH.1 (newest) to PATH.N once PATH has grown to its limit; the chain goes on across them. Mode
 * 0600. Threads: the loop's; audit_verify() any. */
#ifndef NODE_AGENT_AUDIT_H
#define NODE_AGENT_AUDIT_H

#include <stdint.h>

struct audit;
struct err;
struct loop;

enum { AUDIT_TEXT_MAX = 512, AUDIT_LINE_MAX = 16384, AUDIT_HASH_HEX = 64, AUDIT_FILES_MAX = 100 };

struct audit_config {
    const char *path;
    uint64_t file_bytes; /* 0: 64 MiB */
    unsigned files;      /* old ones kept, at most AUDIT_FILES_MAX; 0: 16 */
    unsigned sync_ms;    /* 0: 1000 */
};

struct audit_entry {
    const char *who, *role, *from;
    const char *method, *path;
    const char *target; /* the object's name or id; NULL: null */
    const char *why;    /* NULL: null. Texts are cut at AUDIT_TEXT_MAX bytes */
    int status;
    const char *code; /* of an error; NULL: null */
};

/* Opens, or makes, the file and takes up its chain. A last line that a crash left unfinished is ended; audit_verify()
 * counts it as torn. Errors: -errno of open; -EBADMSG: the file does not end like an audit log. */
struct audit *audit_new(struct loop *loop, const struct audit_config *config, struct err *err);
void audit_free(struct audit *audit); /* syncs; not while the loop has work of it: see audit_idle() */

int audit_write(struct audit *audit, const struct audit_entry *entry, struct err *err);
/* What the agent of that node did by itself, as "drover" with the role "agent". audit NULL: nothing is written; a line
 * that cannot be is told to the journal. */
void audit_write_own(struct audit *audit, const char *node, const char *method, const char *path, const char *target,
                     const char *why);
/* The next audit_free() does not leave anything in flight. */
int audit_idle(const struct audit *audit);

struct audit_report {
    unsigned files;
    uint64_t lines, first_seq, last_seq;
    uint64_t torn; /* cut off by a crash; none of the chain */
    char first_prev[AUDIT_HASH_HEX + 1], last_hash[AUDIT_HASH_HEX + 1];
};
/* Checks one file. prev NULL: the first line's own word is taken; else it must be that hash (the last_hash of the older
 * file). -EBADMSG: the text says which line and what is wrong. */
int audit_verify(const char *path, const char *prev, struct audit_report *report, struct err *err);
/* The same for the file and the older ones beside it, the oldest first: none may be missing in between. */
int audit_verify_all(const char *path, struct audit_report *report, struct err *err);

#endif
