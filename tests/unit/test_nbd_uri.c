/* NBD URIs: what is taken, and what is said about the others. */
#include "nbd/nbd_uri.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "node/base/err.h"

static struct nbd_uri parsed(const char *text)
{
    struct nbd_uri uri;
    struct err err = {0};
    if (nbd_uri_parse(text, &uri, &err))
        fail_msg("%s: %s", text, err.text);
    return uri;
}

static void tcp(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *export, *identity;
        uint16_t port;
        bool tls;
    } good[] = {
        {"nbd://storage1/disk7", "storage1", "disk7", "", 10809, false},
        {"nbd://storage1", "storage1", "", "", 10809, false},
        {"nbd://storage1/", "storage1", "", "", 10809, false},
        {"nbd://storage1:7000/a/b", "storage1", "a/b", "", 7000, false},
        {"nbd://storage1:/x", "storage1", "x", "", 10809, false},
        {"nbd://192.0.2.7:1/", "192.0.2.7", "", "", 1, false},
        {"nbd://[2001:db8::1]:65535/x", "2001:db8::1", "x", "", 65535, false},
        {"nbd://[::1]", "::1", "", "", 10809, false},
        {"nbd://[fe80::1%25eth0]/x", "fe80::1%eth0", "x", "", 10809, false},
        {"nbd:///x", "localhost", "x", "", 10809, false},
        {"nbd://h//x", "h", "/x", "", 10809, false},
        {"nbd://h/%41%2f%3F%23%20%c3%a9", "h", "A/?# \xc3\xa9", "", 10809, false},
        {"nbd://h/a+b", "h", "a+b", "", 10809, false},
        {"nbds://alice@h/x?tls-psk-file=/k", "h", "x", "alice", 10809, true},
        {"nbds://al%40ice@[::1]:7/x?tls-psk-file=/k", "::1", "x", "al@ice", 7, true},
        {"NBD://h/x", "h", "x", "", 10809, false},
        {"nbd://h?", "h", "", "", 10809, false},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct nbd_uri uri = parsed(good[i].text);
        assert_string_equal(uri.host, good[i].host);
        assert_string_equal(uri.export, good[i].export);
        assert_string_equal(uri.identity, good[i].identity);
        assert_int_equal(uri.port, good[i].port);
        assert_int_equal(uri.tls, good[i].tls);
        assert_false(uri.local);
        assert_string_equal(uri.socket, "");
        assert_true(uri.tls_verify_peer);
    }
}

static void local(void **state)
{
    (void)state;
    struct nbd_uri uri = parsed("nbd+unix:///disk?socket=/run/nbd.sock");
    assert_true(uri.local);
    assert_false(uri.tls);
    assert_string_equal(uri.socket, "/run/nbd.sock");
    assert_string_equal(uri.export, "disk");
    uri = parsed("nbd+unix://?socket=a%26b");
    assert_string_equal(uri.socket, "a&b");
    assert_string_equal(uri.export, "");
    uri = parsed("nbds+unix://bob@/d?tls-psk-file=/k&socket=/s");
    assert_string_equal(uri.identity, "bob");
    assert_true(uri.tls && uri.local);
}

static void tls(void **state)
{
    (void)state;
    struct nbd_uri uri = parsed("nbds://h/x?tls-certificates=/etc/pki&tls-hostname=other;tls-verify-peer=0");
    assert_string_equal(uri.tls_certificates, "/etc/pki");
    assert_string_equal(uri.tls_hostname, "other");
    assert_false(uri.tls_verify_peer);
    assert_true(parsed("nbds://h/x?tls-verify-peer=1").tls_verify_peer);
}

static void bad(void **state)
{
    (void)state;
    static const struct {
        const char *text, *about;
    } table[] = {
        {"", "begins with nbd://"},
        {"disk.img", "begins with nbd://"},
        {"nbd:localhost:10809", "begins with nbd://"},
        {"nbd:/h/x", "begins with nbd://"},
        {"://h/x", "unknown scheme ''"},
        {"http://h/x", "unknown scheme 'http'"},
        {"nbdx://h/x", "unknown scheme 'nbdx'"},
        {"nbd+vsock://2/x", "vsock is not supported"},
        {"nbds+vsock:///x", "vsock is not supported"},
        {"nbd://h:0/", "port '0' is not a number from 1 to 65535"},
        {"nbd://h:65536/", "port '65536'"},
        {"nbd://h:99999999999999999999/", "port '9999"},
        {"nbd://h:7a/", "port '7a'"},
        {"nbd://h:-1/", "port '-1'"},
        {"nbd://::1/x", "in brackets"},
        {"nbd://[::1/x", "not closed"},
        {"nbd://[::1]x/", "after ']'"},
        {"nbd://[host]/", "IPv6 addresses only"},
        {"nbd://h/%", "export: % must be followed"},
        {"nbd://h/%4", "export: % must be followed"},
        {"nbd://h/%zz", "export: % must be followed"},
        {"nbd://h/a%00b", "export contains a zero byte"},
        {"nbd://%00/", "host contains a zero byte"},
        {"nbd://h/a b", "byte 10 of the URI must be percent-encoded, as %20"},
        {"nbd://h/a#b", "as %23"},
        {"nbd://h/\n", "as %0A"},
        {"nbd://h/x?sock=/s", "unknown parameter 'sock' (there are: socket"},
        {"nbd://h/x?=1", "unknown parameter ''"},
        {"nbd://h/x?socket=/s", "socket goes with nbd+unix:// only"},
        {"nbds://h/x?socket=/s", "socket goes with nbds+unix:// only"},
        {"nbd+unix:///x", "socket is missing"},
        {"nbd+unix:///x?socket=", "socket has no value"},
        {"nbd+unix:///x?socket", "socket has no value"},
        {"nbd+unix:///x?socket=a&socket=b", "socket is given twice"},
        {"nbd+unix://h/x?socket=/s", "three slashes"},
        {"nbd://h/x?tls-psk-file=/k", "under TLS only: write nbds://"},
        {"nbd+unix:///x?socket=/s&tls-verify-peer=1", "write nbds+unix://"},
        {"nbd://alice@h/x", "IDENTITY@ means something under TLS only"},
        {"nbds://alice:secret@h/x", "a password has no place"},
        {"nbds://h/x?tls-verify-peer=2", "must be 0 or 1"},
        {"nbds://h/x?tls-verify-peer=", "must be 0 or 1"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct nbd_uri uri = {.port = 4711};
        struct err err = {0};
        if (!nbd_uri_parse(table[i].text, &uri, &err))
            fail_msg("'%s' was taken", table[i].text);
        if (!strstr(err.text, table[i].about))
            fail_msg("'%s': '%s' does not say '%s'", table[i].text, err.text, table[i].about);
        assert_int_equal(uri.port, 4711);
    }
}

static void lengths(void **state)
{
    (void)state;
    static char text[NBD_STRING_MAX_BYTES + 64], path[200];
    struct nbd_uri uri;
    struct err err = {0};
    memcpy(text, "nbd://h/", 8);
    memset(text + 8, 'x', NBD_STRING_MAX_BYTES);
    assert_int_equal(strlen(parsed(text).export), NBD_STRING_MAX_BYTES);
    text[8 + NBD_STRING_MAX_BYTES] = 'x';
    assert_true(nbd_uri_parse(text, &uri, &err) < 0);
    assert_non_null(strstr(err.text, "export is too long: at most 4096 bytes"));
    memcpy(path, "nbd+unix:///?socket=", 20);
    memset(path + 20, 's', 108);
    assert_true(nbd_uri_parse(path, &uri, &err) < 0);
    assert_non_null(strstr(err.text, "socket is too long: at most 107 bytes"));
    memset(text + 6, 'h', 300);
    assert_true(nbd_uri_parse(text, &uri, &err) < 0);
    assert_non_null(strstr(err.text, "host is too long"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp), cmocka_unit_test(local),   cmocka_unit_test(tls),
        cmocka_unit_test(bad), cmocka_unit_test(lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
