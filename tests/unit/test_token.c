/* Tokens: form, table, JSON. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/agent/schema.h"
#include "node/agent/token.h"
#include "node/base/err.h"

static struct token make(const char *name, enum token_kind kind, enum role role, int64_t expires_s,
                         char text[TOKEN_TEXT_MAX])
{
    struct token t = {.kind = kind, .role = role, .expires_s = expires_s};
    strcpy(t.name, name);
    assert_int_equal(token_make(&t, 1000, text, NULL), 0);
    return t;
}

static void test_form(void **state)
{
    char a[TOKEN_TEXT_MAX], b[TOKEN_TEXT_MAX], join[TOKEN_TEXT_MAX];
    uint8_t hash[TOKEN_HASH_BYTES];
    (void)state;
    struct token first = make("a", TOKEN_ACCESS, ROLE_VIEWER, 0, a);
    struct token second = make("b", TOKEN_ACCESS, ROLE_VIEWER, 0, b);
    make("j", TOKEN_JOIN, ROLE_NONE, 0, join);
    assert_int_equal(strlen(a), 7 + 43);
    assert_int_equal(strncmp(a, "drover_", 7), 0);
    assert_int_equal(strncmp(join, "drover-join_", 12), 0);
    assert_string_not_equal(a, b);
    assert_string_not_equal(first.id, second.id);
    assert_true(schema_is_uuid(first.id) && first.id[14] == '4');
    assert_memory_not_equal(first.hash, second.hash, sizeof first.hash);
    assert_int_equal(first.created_s, 1000);
    assert_false(token_hash(join, TOKEN_ACCESS, hash));
    assert_false(token_hash(a, TOKEN_JOIN, hash));
    assert_false(token_hash("", TOKEN_ACCESS, hash));
    a[49] = 0;
    assert_false(token_hash(a, TOKEN_ACCESS, hash));
    token_wipe(b);
    assert_int_equal(b[0], 0);
    assert_int_equal(b[45], 0);
}

static void test_table(void **state)
{
    char a[TOKEN_TEXT_MAX], b[TOKEN_TEXT_MAX], j[TOKEN_TEXT_MAX];
    const struct token *found = NULL;
    struct token_table *table = token_table_new();
    (void)state;
    struct token first = make("a", TOKEN_ACCESS, ROLE_VIEWER, 2000, a),
                 second = make("b", TOKEN_ACCESS, ROLE_ADMIN, 0, b);
    struct token joins = make("j", TOKEN_JOIN, ROLE_NONE, 0, j);
    assert_int_equal(token_table_put(table, &first), 0);
    assert_int_equal(token_table_put(table, &second), 0);
    assert_int_equal(token_table_put(table, &joins), 0);
    assert_int_equal(token_table_find(table, TOKEN_ACCESS, b, 1000, &found), 0);
    assert_string_equal(found->name, "b");
    assert_int_equal(found->role, ROLE_ADMIN);
    assert_int_equal(token_table_find(table, TOKEN_ACCESS, j, 1000, &found), -ENOENT);
    assert_int_equal(token_table_find(table, TOKEN_JOIN, j, 1000, &found), 0);
    assert_int_equal(token_table_find(table, TOKEN_ACCESS, a, 1999, &found), 0);
    assert_int_equal(token_table_find(table, TOKEN_ACCESS, a, 2000, &found), -EKEYEXPIRED);
    a[20] = a[20] == 'A' ? 'B' : 'A';
    assert_int_equal(token_table_find(table, TOKEN_ACCESS, a, 1000, &found), -ENOENT);
    second.revoked = true;
    assert_int_equal(token_table_put(table, &second), 0);
    assert_int_equal(token_table_count(table), 3);
    assert_int_equal(token_table_find(table, TOKEN_ACCESS, b, 1000, &found), -EKEYREVOKED);
    token_table_remove(table, second.id);
    token_table_remove(table, second.id);
    assert_int_equal(token_table_count(table), 2);
    assert_int_equal(token_table_find(table, TOKEN_ACCESS, b, 1000, &found), -ENOENT);
    assert_int_equal(token_table_find(table, TOKEN_JOIN, j, 1000, &found), 0);
    token_table_free(table);
}

static void test_limit(void **state)
{
    struct token t = {.role = ROLE_VIEWER};
    struct token_table *table = token_table_new();
    (void)state;
    for (unsigned i = 0; i < TOKENS_MAX; i++) {
        snprintf(t.id, sizeof t.id, "%u", i);
        assert_int_equal(token_table_put(table, &t), 0);
    }
    assert_int_equal(token_table_put(table, &t), 0); /* there already */
    strcpy(t.id, "one more");
    assert_int_equal(token_table_put(table, &t), -ENOSPC);
    token_table_free(table);
}

static void test_json(void **state)
{
    char text[TOKEN_TEXT_MAX];
    struct token back = {0};
    struct err err;
    (void)state;
    struct token t = make("alice", TOKEN_ACCESS, ROLE_OPERATOR, 5000, text);
    t.revoked = true;
    json_t *json = token_to_json(&t), *view = token_view(&t);
    assert_int_equal(token_from_json(json, &back, &err), 0);
    assert_memory_equal(back.hash, t.hash, sizeof t.hash);
    assert_string_equal(back.name, "alice");
    assert_true(back.revoked && back.role == ROLE_OPERATOR && back.expires_s == 5000 && back.created_s == 1000);
    assert_null(json_object_get(view, "hash"));
    char *dump = json_dumps(json, 0);
    assert_null(strstr(dump, text + 7)); /* the secret is nowhere */
    free(dump);
    assert_int_equal(token_from_json(view, &back, &err), -EINVAL);
    json_object_set_new(json, "role", json_string("node"));
    assert_int_equal(token_from_json(json, &back, &err), -EINVAL);
    json_object_set_new(json, "role", json_string("viewer"));
    json_object_set_new(json, "hash", json_string("00"));
    assert_int_equal(token_from_json(json, &back, &err), -EINVAL);
    json_decref(json);
    json_decref(view);
    t = make("j", TOKEN_JOIN, ROLE_ADMIN, 0, text);
    assert_int_equal(t.role, ROLE_NONE);
    json = token_to_json(&t);
    assert_int_equal(token_from_json(json, &back, &err), 0);
    assert_int_equal(back.kind, TOKEN_JOIN);
    json_object_set_new(json, "role", json_string("admin")); /* a join token has no role */
    assert_int_equal(token_from_json(json, &back, &err), -EINVAL);
    json_decref(json);
}

static void test_roles(void **state)
{
    enum role role;
    (void)state;
    assert_true(role_parse("operator", &role) && role == ROLE_OPERATOR);
    assert_false(role_parse("node", &role) || role_parse("none", &role) || role_parse("Admin", &role));
    assert_string_equal(role_name(ROLE_NODE), "node");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form), cmocka_unit_test(test_table), cmocka_unit_test(test_limit),
        cmocka_unit_test(test_json), cmocka_unit_test(test_roles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
