/* See nbd_uri.h. The text is cut into spans first (scheme, authority, path, query); each span is
 * then decoded into its field, which is the only place where bytes are written and where a length
 * can be exceeded. */
#include "nbd/nbd_uri.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "node/base/err.h"
#include "node/base/hex.h"

struct span {
    const char *at, *end;
};

static struct span span_of(const char *text)
{
    return (struct span){text, text + strlen(text)};
}

static size_t span_len(struct span s)
{
    return (size_t)(s.end - s.at);
}

static bool span_is(struct span s, const char *word)
{
    return span_len(s) == strlen(word) && memcmp(s.at, word, span_len(s)) == 0;
}

/* First place of c in s, or its end. */
static const char *span_find(struct span s, char c)
{
    const char *p = s.at < s.end ? memchr(s.at, c, span_len(s)) : NULL;
    return p ? p : s.end;
}

static int decode(struct span s, const char *what, char *out, size_t size, struct err *err)
{
    size_t n = 0;
    for (const char *p = s.at; p < s.end; p++) {
        int c = (unsigned char)*p;
        if (c == '%') {
            int high = s.end - p > 2 ? hex_digit(p[1]) : -1;
            int low = high >= 0 ? hex_digit(p[2]) : -1;
            if (low < 0)
                return err_set(err, EINVAL, "%s: %% must be followed by two hex digits (write %% as %%25)", what);
            c = high << 4 | low;
            p += 2;
        }
        if (c == 0)
            return err_set(err, EINVAL, "%s contains a zero byte", what);
        if (n + 1 >= size)
            return err_set(err, EINVAL, "%s is too long: at most %zu bytes", what, size - 1);
        out[n++] = (char)c;
    }
    out[n] = 0;
    return 0;
}

/* ---- scheme ---- */

static int parse_scheme(struct span *rest, struct nbd_uri *uri, struct err *err)
{
    static const struct {
        const char *name;
        bool tls, local, vsock;
    } schemes[] = {
        {"nbd", false, false, false},     {"nbds", true, false, false},      {"nbd+unix", false, true, false},
        {"nbds+unix", true, true, false}, {"nbd+vsock", false, false, true}, {"nbds+vsock", true, false, true},
    };
    struct span scheme = {rest->at, span_find(*rest, ':')};
    if (rest->end - scheme.end < 3 || memcmp(scheme.end, "://", 3) != 0)
        return err_set(err, EINVAL,
                       "'%.60s' is not an NBD URI: it begins with nbd://, nbds://, nbd+unix:// or "
                       "nbds+unix://",
                       rest->at);
    rest->at = scheme.end + 3;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        if (strlen(schemes[i].name) != span_len(scheme) ||
            strncasecmp(schemes[i].name, scheme.at, span_len(scheme)) != 0)
            continue;
        if (schemes[i].vsock)
            return err_set(err, EINVAL,
                           "scheme %s: vsock is not supported; use TCP (nbd://, nbds://) or a Unix "
                           "socket (nbd+unix://, nbds+unix://)",
                           schemes[i].name);
        uri->tls = schemes[i].tls;
        uri->local = schemes[i].local;
        return 0;
    }
    return err_set(err, EINVAL, "unknown scheme '%.*s': there are nbd, nbds, nbd+unix and nbds+unix",
                   (int)(span_len(scheme) < 40 ? span_len(scheme) : 40), scheme.at);
}

/* ---- authority ---- */

static int parse_port(struct span s, uint16_t *port, struct err *err)
{
    unsigned value = 0;
    bool good = span_len(s) <= 5;
    for (const char *p = s.at; good && p < s.end; p++) {
        good = *p >= '0' && *p <= '9';
        value = value * 10 + (unsigned)(*p - '0');
    }
    if (s.at == s.end)
        value = NBD_PORT;
    if (!good || value == 0 || value > UINT16_MAX)
        return err_set(err, EINVAL, "port '%.*s' is not a number from 1 to 65535",
                       (int)(span_len(s) < 20 ? span_len(s) : 20), s.at);
    *port = (uint16_t)value;
    return 0;
}

static int parse_host(struct span s, struct nbd_uri *uri, struct err *err)
{
    struct span port = {s.end, s.end}, host = s;
    if (s.at < s.end && *s.at == '[') {
        host.at++;
        host.end = span_find(s, ']');
        if (host.end == s.end)
            return err_set(err, EINVAL, "host: the bracket of the IPv6 address is not closed");
        if (span_find(host, ':') == host.end)
            return err_set(err, EINVAL, "host: brackets are for IPv6 addresses only");
        port.at = host.end + 1;
        if (port.at < s.end && *port.at != ':')
            return err_set(err, EINVAL, "host: after ']' comes :PORT or /EXPORT");
    } else {
        host.end = port.at = span_find(s, ':');
    }
    if (port.at < s.end)
        port.at++;
    if (span_find(port, ':') != port.end)
        return err_set(err, EINVAL, "host: an IPv6 address is written in brackets, as in nbd://[::1]/");
    int rc = parse_port(port, &uri->port, err);
    if (rc)
        return rc;
    if (host.at == host.end)
        host = span_of("localhost");
    return decode(host, "host", uri->host, sizeof uri->host, err);
}

static int parse_authority(struct span s, struct nbd_uri *uri, struct err *err)
{
    struct span user = {s.at, span_find(s, '@')};
    if (user.end < s.end) {
        if (span_find(user, ':') != user.end)
            return err_set(err, EINVAL,
                           "a password has no place in an NBD URI: write IDENTITY@, and the key in "
                           "the file of tls-psk-file=");
        int rc = decode(user, "identity", uri->identity, sizeof uri->identity, err);
        if (rc)
            return rc;
        s.at = user.end + 1;
    }
    if (!uri->local)
        return parse_host(s, uri, err);
    if (s.at < s.end)
        return err_set(err, EINVAL,
                       "host: a Unix socket has none; write three slashes, as in "
                       "nbd+unix:///EXPORT?socket=PATH");
    return 0;
}

/* ---- query ---- */

enum query_seen { SEEN_SOCKET, SEEN_CERTIFICATES, SEEN_PSK, SEEN_HOSTNAME, SEEN_VERIFY };

static int set_verify(struct span value, struct nbd_uri *uri, struct err *err)
{
    if (!span_is(value, "0") && !span_is(value, "1"))
        return err_set(err, EINVAL, "tls-verify-peer must be 0 or 1");
    uri->tls_verify_peer = *value.at == '1';
    return 0;
}

static int parse_parameter(struct span s, struct nbd_uri *uri, unsigned *seen, struct err *err)
{
    const struct {
        const char *name;
        char *field;
        size_t size;
    } texts[] = {
        [SEEN_SOCKET] = {"socket", uri->socket, sizeof uri->socket},
        [SEEN_CERTIFICATES] = {"tls-certificates", uri->tls_certificates, sizeof uri->tls_certificates},
        [SEEN_PSK] = {"tls-psk-file", uri->tls_psk_file, sizeof uri->tls_psk_file},
        [SEEN_HOSTNAME] = {"tls-hostname", uri->tls_hostname, sizeof uri->tls_hostname},
        [SEEN_VERIFY] = {"tls-verify-peer", NULL, 0},
    };
    struct span name = {s.at, span_find(s, '=')};
    struct span value = {name.end < s.end ? name.end + 1 : s.end, s.end};
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!span_is(name, texts[i].name))
            continue;
        if (*seen & 1u << i)
            return err_set(err, EINVAL, "%s is given twice", texts[i].name);
        *seen |= 1u << i;
        if (i == SEEN_VERIFY)
            return set_verify(value, uri, err);
        if (value.at == value.end)
            return err_set(err, EINVAL, "%s has no value", texts[i].name);
        return decode(value, texts[i].name, texts[i].field, texts[i].size, err);
    }
    return err_set(err, EINVAL,
                   "unknown parameter '%.*s' (there are: socket, tls-certificates, tls-psk-file, "
                   "tls-hostname, tls-verify-peer)",
                   (int)(span_len(name) < 40 ? span_len(name) : 40), name.at);
}

static int parse_query(struct span s, struct nbd_uri *uri, struct err *err)
{
    unsigned seen = 0;
    while (s.at < s.end) {
        struct span one = {s.at, span_find(s, '&')};
        one.end = span_find(one, ';');
        int rc = one.at < one.end ? parse_parameter(one, uri, &seen, err) : 0;
        if (rc)
            return rc;
        s.at = one.end < s.end ? one.end + 1 : s.end;
    }
    unsigned tls_seen = seen & ~(1u << SEEN_SOCKET);
    if (uri->local && !*uri->socket)
        return err_set(err, EINVAL, "socket is missing: write nbd%s+unix:///EXPORT?socket=PATH", uri->tls ? "s" : "");
    if (!uri->local && *uri->socket)
        return err_set(err, EINVAL, "socket goes with nbd%s+unix:// only", uri->tls ? "s" : "");
    if (!uri->tls && (tls_seen || *uri->identity))
        return err_set(err, EINVAL, "%s means something under TLS only: write nbds%s://",
                       *uri->identity ? "IDENTITY@" : "tls-...", uri->local ? "+unix" : "");
    return 0;
}

/* ---- the whole ---- */

static int check_characters(const char *text, struct err *err)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f || *p == '#')
            return err_set(err, EINVAL, "byte %zu of the URI must be percent-encoded, as %%%02X",
                           (size_t)(p - text) + 1, (unsigned)(unsigned char)*p);
    return 0;
}

int nbd_uri_parse(const char *text, struct nbd_uri *out, struct err *err)
{
    struct span rest = span_of(text);
    struct nbd_uri *uri = calloc(1, sizeof *uri);
    if (!uri)
        return err_set(err, ENOMEM, "no memory for a URI");
    uri->tls_verify_peer = true;
    int rc = check_characters(text, err);
    if (!rc)
        rc = parse_scheme(&rest, uri, err);
    if (!rc) {
        struct span query = {span_find(rest, '?'), rest.end};
        struct span path = {rest.at, query.at};
        path.at = span_find(path, '/');
        struct span authority = {rest.at, path.at};
        if (path.at < path.end)
            path.at++;
        if (query.at < query.end)
            query.at++;
        rc = parse_authority(authority, uri, err);
        if (!rc)
            rc = decode(path, "export", uri->export, sizeof uri->export, err);
        if (!rc)
            rc = parse_query(query, uri, err);
    }
    if (!rc)
        *out = *uri;
    free(uri);
    return rc;
}
