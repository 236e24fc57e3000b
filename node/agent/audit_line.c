/* See audit_line.h; and audit_verify(), which reads a whole file of such lines. */
#include "node/agent/audit_line.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/base/err.h"
#include "node/base/hex.h"
#include "node/base/timestamp.h"
#include "node/base/utf8.h"

void audit_line_hash(const char *line, size_t len, char hash[AUDIT_HASH_HEX + 1])
{
    uint8_t bytes[EVP_MAX_MD_SIZE];
    if (EVP_Digest(line, len, bytes, NULL, EVP_sha256(), NULL) != 1)
        abort(); /* Rule Zero: without SHA-256 there is no TLS either */
    hex_text(bytes, AUDIT_HASH_HEX / 2, hash);
}

/* Cut to length, and without control characters, each of which would take six bytes. */
static json_t *text_of(const char *text)
{
    char clean[AUDIT_TEXT_MAX];
    if (!text)
        return json_null();
    size_t n = strnlen(text, AUDIT_TEXT_MAX);
    while (n && !utf8_valid(text, n))
        n--;
    for (size_t i = 0; i < n; i++)
        clean[i] = (unsigned char)text[i] < 0x20 ? '?' : text[i];
    return json_stringn(clean, n);
}

size_t audit_line_write(const struct audit_entry *e, uint64_t seq, const char *prev, char *line, size_t room)
{
    char now[TIMESTAMP_BYTES];
    json_t *json = json_object();
    const struct {
        const char *key;
        json_t *value;
    } members[] = {
        {"seq", json_integer((json_int_t)seq)},
        {"time", json_string(timestamp(now))},
        {"who", text_of(e->who)},
        {"role", text_of(e->role)},
        {"from", text_of(e->from)},
        {"method", text_of(e->method)},
        {"path", text_of(e->path)},
        {"target", text_of(e->target)},
        {"why", text_of(e->why)},
        {"status", json_integer(e->status)},
        {"code", text_of(e->code)},
        {"prev", json_string(prev)},
    };
    size_t failed = 0;
    for (unsigned i = 0; i < sizeof members / sizeof *members; i++)
        failed += json_object_set_new(json, members[i].key, members[i].value) != 0;
    size_t len = failed ? 0 : json_dumpb(json, line, room, JSON_COMPACT);
    json_decref(json);
    return len < room ? len : 0;
}

int audit_line_read(const char *line, size_t len, struct audit_link *link, struct err *err)
{
    json_error_t wrong;
    json_int_t seq;
    const char *prev;
    json_t *json = json_loadb(line, len, JSON_REJECT_DUPLICATES, &wrong);
    int rc = json ? json_unpack_ex(json, &wrong, 0, "{s:I, s:s}", "seq", &seq, "prev", &prev) : -1;
    if (!rc && (seq < 1 || strlen(prev) != AUDIT_HASH_HEX))
        rc = -1;
    if (!rc) {
        link->seq = (uint64_t)seq;
        memcpy(link->prev, prev, sizeof link->prev);
        audit_line_hash(line, len, link->hash);
    }
    json_decref(json);
    return rc ? err_set(err, EBADMSG, "no line of an audit log") : 0;
}

/* ---- verifying ---- */

static int judge(const struct audit_link *link, const struct audit_report *r, const char *prev, uint64_t number,
                 struct err *err)
{
    const char *want = r->lines ? r->last_hash : prev;
    if (r->lines && link->seq != r->last_seq + 1)
        return err_set(err, EBADMSG, "line %llu has number %llu and follows %llu: lines are missing or were moved",
                       (unsigned long long)number, (unsigned long long)link->seq, (unsigned long long)r->last_seq);
    if (want && strcmp(want, link->prev) != 0)
        return err_set(err, EBADMSG,
                       "line %llu (number %llu) does not carry the hash of the line before it: one of the "
                       "two was changed",
                       (unsigned long long)number, (unsigned long long)link->seq);
    return 0;
}

int audit_verify(const char *path, const char *prev, struct audit_report *report, struct err *err)
{
    struct audit_report r = {0};
    struct audit_link link;
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    int rc = 0;
    FILE *f = fopen(path, "re");
    if (!f)
        return err_set(err, errno, "audit log '%s': %s", path, strerror(errno));
    for (uint64_t number = 1; !rc && (len = getline(&line, &room, f)) > 0; number++) {
        if (line[len - 1] != '\n') {
            rc = err_set(err, EBADMSG, "line %llu is not whole", (unsigned long long)number);
            break;
        }
        if (audit_line_read(line, (size_t)len - 1, &link, NULL)) {
            r.torn++; /* if it once was whole, the number after it will be missing */
            continue;
        }
        rc = judge(&link, &r, prev, number, err);
        if (rc)
            break;
        if (!r.lines++) {
            r.first_seq = link.seq;
            memcpy(r.first_prev, link.prev, sizeof r.first_prev);
        }
        r.last_seq = link.seq;
        memcpy(r.last_hash, link.hash, sizeof r.last_hash);
    }
    free(line);
    fclose(f);
    if (rc) {
        err_prefix(err, "audit log '%s'", path);
        return rc;
    }
    *report = r;
    return 0;
}

int audit_verify_all(const char *path, struct audit_report *report, struct err *err)
{
    struct audit_report all = {0}, one;
    char file[PATH_MAX];
    for (unsigned n = AUDIT_FILES_MAX + 1; n-- > 0;) {
        if (n)
            snprintf(file, sizeof file, "%s.%u", path, n);
        else
            snprintf(file, sizeof file, "%s", path);
        if (n && access(file, F_OK))
            continue;
        int rc = audit_verify(file, all.lines ? all.last_hash : NULL, &one, err);
        if (rc)
            return rc;
        if (!all.files++)
            memcpy(all.first_prev, one.first_prev, sizeof all.first_prev);
        if (!one.lines)
            continue;
        all.first_seq = all.lines ? all.first_seq : one.first_seq;
        all.lines += one.lines;
        all.torn += one.torn;
        all.last_seq = one.last_seq;
        memcpy(all.last_hash, one.last_hash, sizeof all.last_hash);
    }
    *report = all;
    return 0;
}
