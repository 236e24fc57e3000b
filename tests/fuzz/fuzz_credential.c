/* What proves who somebody is, and what is written down about it: the text of a token, a token from the store, a line
 * of the audit log, a certificate, a request for one. The first byte of the input says which. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/audit_line.h"
#include "node/agent/certificate.h"
#include "node/agent/token.h"
#include "node/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct token_table *table;
static struct certificate_pair ca;

static void begin(void)
{
    struct token token = {.name = "alice", .role = ROLE_ADMIN};
    char text[TOKEN_TEXT_MAX];
    table = token_table_new();
    if (token_make(&token, 1, text, NULL) || token_table_put(table, &token) || certificate_make_ca("x", 10, &ca, NULL))
        abort();
}

/* Nobody guesses 256 bits. */
static void shown_token(const char *text)
{
    const struct token *found;
    if (token_table_find(table, TOKEN_ACCESS, text, 1, &found) != -ENOENT ||
        token_table_find(table, TOKEN_JOIN, text, 1, &found) != -ENOENT)
        abort();
}

/* What is taken is written again as it was. */
static void stored_token(const char *text)
{
    struct token token, again;
    struct err err = {0};
    json_t *json = json_loads(text, 0, NULL);
    if (json && token_from_json(json, &token, &err) == 0) {
        json_t *written = token_to_json(&token);
        if (written && (token_from_json(written, &again, &err) || strcmp(again.name, token.name) != 0 ||
                        memcmp(again.hash, token.hash, sizeof token.hash) != 0))
            abort();
        json_decref(written);
    } else if (json && !*err.text) {
        abort();
    }
    json_decref(json);
}

static void certificates(const char *text)
{
    const struct certificate_subject subject = {.common_name = "n1"};
    struct certificate_info info;
    struct err err = {0};
    char *certificate;
    certificate_inspect(text, &info, &err);
    certificate_verify(text, ca.certificate, 1000000000, &err);
    if (certificate_sign(&ca, text, &subject, 10, &certificate, &err) == 0)
        certificate_pem_free(certificate);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct audit_link link;
    if (!table)
        begin();
    if (!size)
        return 0;
    char *text = strndup((const char *)data + 1, size - 1);
    switch (data[0] & 3) {
    case 0:
        shown_token(text);
        break;
    case 1:
        stored_token(text);
        break;
    case 2:
        audit_line_read((const char *)data + 1, size - 1, &link, NULL);
        break;
    default:
        certificates(text);
        break;
    }
    free(text);
    return 0;
}
