/* Certificates: an authority, requests, nodes, and what is refused. */
#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/agent/certificate.h"
#include "node/base/err.h"
#include "node/base/tls.h"

static struct certificate_pair ca, other;

static int setup(void **state)
{
    (void)state;
    return certificate_make_ca("test cluster", CERTIFICATE_CA_DAYS, &ca, NULL) ||
           certificate_make_ca("test cluster", CERTIFICATE_CA_DAYS, &other, NULL);
}

static int teardown(void **state)
{
    (void)state;
    certificate_pair_free(&ca);
    certificate_pair_free(&other);
    return 0;
}

static void test_authority(void **state)
{
    struct certificate_info info;
    int64_t now = time(NULL);
    (void)state;
    assert_int_equal(certificate_inspect(ca.certificate, &info, NULL), 0);
    assert_string_equal(info.common_name, "test cluster");
    assert_true(info.is_ca);
    assert_true(info.not_before_s <= now - 3500 && info.not_after_s > now + 3649LL * 86400);
    assert_int_equal(strlen(info.fingerprint), CERTIFICATE_FINGERPRINT_HEX);
    assert_true(certificate_matches(ca.certificate, ca.key));
    assert_false(certificate_matches(ca.certificate, other.key));
    assert_int_equal(certificate_verify(ca.certificate, ca.certificate, now, NULL), 0);
}

static void test_node(void **state)
{
    const struct certificate_subject subject = {"n1", {"n1.example.org", "10.0.0.1", "fd00::1"}, 3};
    struct certificate_pair node;
    struct certificate_info info;
    struct err err = {0};
    int64_t now = time(NULL);
    (void)state;
    assert_int_equal(certificate_make_node(&ca, &subject, 10, &node, &err), 0);
    assert_int_equal(certificate_inspect(node.certificate, &info, &err), 0);
    assert_string_equal(info.common_name, "n1");
    assert_false(info.is_ca);
    assert_int_equal(info.name_count, 4);
    assert_string_equal(info.names[0], "n1");
    assert_string_equal(info.names[1], "n1.example.org");
    assert_string_equal(info.names[2], "10.0.0.1");
    assert_string_equal(info.names[3], "fd00::1");
    assert_int_equal(certificate_verify(node.certificate, ca.certificate, now, &err), 0);
    assert_int_equal(certificate_verify(node.certificate, ca.certificate, now + 11 * 86400, &err), -EKEYREJECTED);
    assert_non_null(strstr(err.text, "expired"));
    assert_int_equal(certificate_verify(node.certificate, other.certificate, now, &err), -EKEYREJECTED);
    assert_true(certificate_matches(node.certificate, node.key));
    /* a node's certificate signs nothing */
    struct certificate_pair forged;
    assert_int_equal(certificate_make_node(&node, &subject, 10, &forged, &err), 0);
    assert_int_equal(certificate_verify(forged.certificate, node.certificate, now, &err), -EKEYREJECTED);
    certificate_pair_free(&forged);
    certificate_pair_free(&node);
}

/* What a request asks for is not what it gets. */
static void test_request(void **state)
{
    const struct certificate_subject subject = {.common_name = "n2"};
    char *key, *request, *certificate;
    struct certificate_info info;
    struct err err = {0};
    (void)state;
    assert_int_equal(certificate_make_request("admin-of-everything", &key, &request, &err), 0);
    assert_int_equal(certificate_sign(&ca, request, &subject, 10, &certificate, &err), 0);
    assert_int_equal(certificate_inspect(certificate, &info, &err), 0);
    assert_string_equal(info.common_name, "n2");
    assert_int_equal(info.name_count, 1);
    assert_true(certificate_matches(certificate, key));
    certificate_pem_free(certificate);
    char *middle = request + strlen(request) / 2;
    *middle = *middle == 'A' ? 'B' : 'A';
    assert_int_equal(certificate_sign(&ca, request, &subject, 10, &certificate, &err), -EBADMSG);
    assert_int_equal(certificate_sign(&ca, "hello", &subject, 10, &certificate, &err), -EBADMSG);
    struct certificate_pair mixed = {ca.certificate, other.key};
    assert_int_equal(certificate_sign(&mixed, request, &subject, 10, &certificate, &err), -EKEYREJECTED);
    certificate_pem_free(key);
    certificate_pem_free(request);
}

static void test_refused_names(void **state)
{
    static const char *const names[] = {"", "a,DNS:b", "a b", "a\nb", "URI:x", "*.example.org", "\xc3\xa4"};
    struct certificate_pair node;
    struct err err = {0};
    (void)state;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        struct certificate_subject subject = {"n1", {names[i]}, 1};
        assert_int_equal(certificate_make_node(&ca, &subject, 10, &node, &err), -EINVAL);
        subject = (struct certificate_subject){.common_name = names[i]};
        assert_int_equal(certificate_make_node(&ca, &subject, 10, &node, &err), -EINVAL);
    }
    char longest[CERTIFICATE_NAME_MAX + 2] = "";
    memset(longest, 'a', sizeof longest - 1);
    assert_int_equal(certificate_make_ca(longest, 1, &node, &err), -EINVAL);
}

static void test_a_key_of_another_kind(void **state)
{
    /* openssl req -new -newkey rsa:2048 -nodes -subj /CN=x, made here by openssl itself */
    char request[8192] = "", *certificate;
    const struct certificate_subject subject = {.common_name = "n3"};
    struct err err = {0};
    (void)state;
    FILE *f = popen("openssl req -new -newkey rsa:2048 -nodes -subj /CN=x -keyout /dev/null 2>/dev/null", "re");
    assert_non_null(f);
    assert_true(fread(request, 1, sizeof request - 1, f) > 500);
    pclose(f);
    assert_int_equal(certificate_sign(&ca, request, &subject, 10, &certificate, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "P-256"));
}

static unsigned mode_of(const char *directory, const char *name)
{
    char path[200];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return stat(path, &st) == 0 ? st.st_mode & 0777 : 0;
}

/* A node's next certificate: for the key that it has, in the place of the old one. */
static void test_the_next_one(void **state)
{
    char base[] = "/tmp/drover-certificate-XXXXXX", command[100], *request, *next, *there;
    const struct certificate_subject subject = {.common_name = "n1"};
    struct certificate_pair node;
    struct err err = {0};
    (void)state;
    assert_non_null(mkdtemp(base));
    assert_int_equal(certificate_make_node(&ca, &subject, 10, &node, &err), 0);
    assert_int_equal(certificate_store(base, ca.certificate, &node, &err), 0);
    assert_int_equal(certificate_request_for("n1", "no key", &request, &err), -EINVAL);
    assert_int_equal(certificate_request_for("n1\n", node.key, &request, &err), -EINVAL);
    assert_int_equal(certificate_request_for("n1", node.key, &request, &err), 0);
    assert_int_equal(certificate_sign(&ca, request, &subject, 10, &next, &err), 0);
    assert_string_not_equal(next, node.certificate);
    assert_true(certificate_matches(next, node.key));
    assert_int_equal(certificate_store_renewed(base, next, &err), 0);
    snprintf(command, sizeof command, "%s/server-cert.pem", base);
    assert_int_equal(certificate_load(command, false, &there, &err), 0);
    assert_string_equal(there, next);
    certificate_pem_free(there);
    static const enum tls_side sides[] = {TLS_SERVER, TLS_CLIENT};
    for (unsigned i = 0; i < 2; i++) { /* key and certificate are a pair, or it would not be made */
        struct tls_context *tls = tls_context_x509(sides[i], base, true, &err);
        assert_non_null(tls);
        tls_context_free(tls);
    }
    snprintf(command, sizeof command, "rm -r %s", base);
    assert_int_equal(system(command), 0);
    certificate_pem_free(request);
    certificate_pem_free(next);
    certificate_pair_free(&node);
}

static void test_files(void **state)
{
    char base[] = "/tmp/drover-certificate-XXXXXX", directory[64], path[100], command[100], *pem;
    const struct certificate_subject subject = {.common_name = "n1"};
    struct certificate_pair node;
    struct err err = {0};
    (void)state;
    assert_non_null(mkdtemp(base));
    snprintf(directory, sizeof directory, "%s/pki", base);
    assert_int_equal(certificate_make_node(&ca, &subject, 10, &node, &err), 0);
    for (unsigned i = 0; i < 2; i++) /* also over what is there */
        assert_int_equal(certificate_store(directory, ca.certificate, &node, &err), 0);
    assert_int_equal(mode_of(base, "pki"), 0700);
    assert_int_equal(mode_of(directory, "server-key.pem"), 0600);
    assert_int_equal(mode_of(directory, "client-key.pem"), 0600);
    assert_int_equal(mode_of(directory, "server-cert.pem"), 0644);
    struct tls_context *tls = tls_context_x509(TLS_SERVER, directory, true, &err);
    assert_non_null(tls);
    tls_context_free(tls);
    snprintf(path, sizeof path, "%s/server-key.pem", directory);
    assert_int_equal(certificate_load(path, true, &pem, &err), 0);
    assert_string_equal(pem, node.key);
    certificate_pem_free(pem);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(certificate_load(path, true, &pem, &err), -EACCES);
    snprintf(path, sizeof path, "%s/huge", base);
    FILE *f = fopen(path, "we");
    for (unsigned i = 0; i < 20000; i++)
        fputc('x', f);
    fclose(f);
    assert_int_equal(certificate_load(path, false, &pem, &err), -EFBIG);
    assert_int_equal(certificate_load("/nonexistent/x", false, &pem, &err), -ENOENT);
    assert_int_equal(certificate_save("/nonexistent/x", "", false, &err), -ENOENT);
    snprintf(command, sizeof command, "rm -r %s", base);
    assert_int_equal(system(command), 0);
    certificate_pair_free(&node);
}

static void test_garbage(void **state)
{
    struct certificate_info info;
    struct err err = {0};
    (void)state;
    assert_int_equal(certificate_inspect("", &info, &err), -EBADMSG);
    assert_int_equal(certificate_inspect("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &info, &err),
                     -EBADMSG);
    assert_int_equal(certificate_inspect(ca.key, &info, &err), -EBADMSG);
    assert_int_equal(certificate_verify("x", ca.certificate, 0, &err), -EBADMSG);
    assert_false(certificate_matches("x", "y"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_authority),
        cmocka_unit_test(test_node),
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_refused_names),
        cmocka_unit_test(test_a_key_of_another_kind),
        cmocka_unit_test(test_the_next_one),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
