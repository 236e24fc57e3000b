/* Scores: Ganeti's against what hbal prints, and the quick way against the slow way. */
#include "tests/unit/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/ganeti_text.h"
#include "balancer/groups.h"
#include "balancer/policy.h"
#include "balancer/rules.h"
#include "balancer/score.h"
#include "balancer/score_reason.h"
#include "node/base/err.h"
#include "tests/unit/random_cluster.h"

static char *read_data(const char *name, size_t *len)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/balancer/data/%s.data", DROVER_SOURCE, name);
    FILE *in = fopen(path, "re");
    assert_non_null(in);
    char *text = malloc(1 << 20);
    assert_non_null(text);
    *len = fread(text, 1, 1 << 20, in);
    fclose(in);
    return text;
}

/* hbal 3.0.2, "Initial score". */
static void equals_hbal(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double score;
    } known[] = {
        {"clean-nonzero-score", 1.91573994},
        {"hbal-cpu-speed", 0.77083333},
        {"hbal-desiredlocation-1", 2.60937500},
        {"hbal-desiredlocation-2", 5.13014453},
        {"hbal-desiredlocation-3", 4.12221395},
        {"hbal-desiredlocation-4", 3.60937500},
        {"hbal-dyn", 4.00000000},
        {"hbal-evac", 46.94539253},
        {"hbal-excl-tags", 3.67187500},
        {"hbal-forth", 0.05339306},
        {"hbal-location-1", 4.06250000},
        {"hbal-location-2", 3.39869220},
        {"hbal-location-exclusion", 2.98249548},
        {"hbal-migration-1", 10.13359773},
        {"hbal-soft-errors", 39.36461987},
        {"hbal-soft-errors2", 3.21875000},
        {"hroller-full", 0.00294054},
        {"hspace-existing", 20.00000000},
        {"hspace-groups-one", 11.78957167},
        {"multiple-tags", 1.53351869},
        {"n1-failure", 22.37526844},
        {"partly-used", 2.74131372},
        {"plain-n1-restriction", 4.64613614},
        {"shared-n1-failure", 3.46410162},
        {"shared-n1-restriction", 4.42793833},
    };
    struct policy policy = policy_ganeti();
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t len;
        char *text = read_data(known[i].name, &len);
        struct ganeti_text file;
        struct err err;
        struct score score;
        if (ganeti_text_read(&file, known[i].name, text, len, NULL, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(score_init(&score, file.model, &policy, NULL), 0);
        if (fabs(score_exact(&score) - known[i].score) > 0.51e-8)
            fail_msg("%s: %.8f, but hbal says %.8f", known[i].name, score_exact(&score), known[i].score);
        score_fini(&score);
        ganeti_text_fini(&file);
        free(text);
    }
}

static void writes_what_it_read(void **state)
{
    (void)state;
    size_t len, written_len;
    char *text = read_data("hbal-migration-1", &len);
    struct ganeti_text file;
    assert_int_equal(ganeti_text_read(&file, "f", text, len, NULL, NULL), 0);
    char *written = ganeti_text_write(&file, file.model, &written_len);
    assert_int_equal(written_len, len);
    assert_memory_equal(written, text, len);
    free(written);
    ganeti_text_fini(&file);
    free(text);
}

static void names_the_line(void **state)
{
    (void)state;
    size_t len;
    char *text = read_data("invalid-node", &len);
    struct ganeti_text file;
    struct err err;
    assert_true(ganeti_text_read(&file, "f.data", text, len, NULL, &err) < 0);
    int line = 1;
    for (const char *c = text; c < strstr(text, "new-0"); c++)
        line += *c == '\n';
    char wanted[64];
    snprintf(wanted, sizeof wanted, "f.data:%d: the primary node is 'no-such-node'", line);
    if (!strstr(err.text, wanted))
        fail_msg("'%s' does not say '%s'", err.text, wanted);
    free(text);
}

/* Every step that is looked at: the quick answer is what a score from nothing says once the step was made. */
static void compare_steps(struct model *m, const struct policy *policy, uint64_t seed)
{
    struct score score;
    assert_int_equal(score_init(&score, m, policy, NULL), 0);
    uint32_t dice = (uint32_t)seed;
    for (int i = 0; i < 60 && m->guest_count; i++) {
        dice = dice * 1664525 + 1013904223;
        int g = (int)(dice >> 8) % m->guest_count, n = (int)(dice >> 16) % m->node_count, mirror = m->mirror[g];
        if (m->at[g] == n || mirror == n)
            continue;
        double promised = score_after(&score, g, n, mirror);
        score_commit(&score, g, n, mirror);
        double kept = score_value(&score), exact = score_exact(&score);
        if (fabs(promised - exact) > 1e-7 || fabs(kept - exact) > 1e-7)
            fail_msg("seed %lu: guest %d to %d: promised %.10f, kept %.10f, exact %.10f", (unsigned long)seed, g, n,
                     promised, kept, exact);
    }
    score_fini(&score);
}

static void quick_is_slow(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct model *m = random_cluster(seed, true);
        compare_steps(m, &policy, seed);
        model_free(m);
    }
}

static void quick_is_slow_with_mirrors(void **state)
{
    (void)state;
    static const char *const names[] = {
        "hbal-evac",      "hbal-migration-1",       "hbal-location-1",         "n1-failure",
        "hbal-excl-tags", "hbal-desiredlocation-2", "hbal-location-exclusion", "hspace-groups-one"};
    struct policy policy = policy_ganeti();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t len;
        char *text = read_data(names[i], &len);
        struct ganeti_text file;
        assert_int_equal(ganeti_text_read(&file, names[i], text, len, NULL, NULL), 0);
        compare_steps(file.model, &policy, i + 1);
        ganeti_text_fini(&file);
        free(text);
    }
}

static void swap_is_two_moves(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    int tried = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct model *m = random_cluster(seed, true);
        struct score score;
        assert_int_equal(score_init(&score, m, &policy, NULL), 0);
        for (int a = 0; a < m->guest_count; a += 3) {
            int b = (a * 7 + 1) % m->guest_count, p = m->at[a], q = m->at[b];
            if (p < 0 || q < 0 || p == q || m->nodes[p].offline || m->nodes[q].offline)
                continue;
            double promised = score_after_swap(&score, a, b);
            score_commit(&score, a, q, -1);
            score_commit(&score, b, p, -1);
            assert_true(fabs(promised - score_exact(&score)) < 1e-7);
            tried++;
        }
        score_fini(&score);
        model_free(m);
    }
    assert_true(tried > 500);
}

/* True if something was said of swaps in this model. */
static bool compare_swaps(struct model *m, const struct policy *policy)
{
    struct score score;
    bool any = false;
    assert_int_equal(score_init(&score, m, policy, NULL), 0);
    for (int a = 0; a < m->guest_count; a++)
        for (int b = 0; b < m->guest_count; b++) {
            int p = m->at[a], q = m->at[b];
            struct score_swaps swaps;
            if (p < 0 || q < 0 || p == q || m->mirror[a] >= 0 || m->mirror[b] >= 0)
                continue;
            score_swaps_begin(&score, p, q, &swaps);
            any |= swaps.any;
            if (swaps.any)
                assert_true(fabs(score_swaps_after(&swaps, a, b) - score_after_swap(&score, a, b)) < 1e-8);
        }
    score_fini(&score);
    return any;
}

/* Where something is said it is right; and it is said only where columns are all there is. */
static void swaps_are_nearly_known(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    int said = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct model *m = random_cluster(seed, false);
        policy.overload_weight = 0;
        said += compare_swaps(m, &policy); /* unless all are on one node */
        policy.overload_weight = 1;
        assert_false(compare_swaps(m, &policy));
        policy.overload_weight = 0;
        int pin = 0;
        m->guests[0].pins = &pin;
        m->guests[0].pin_count = 1;
        assert_false(compare_swaps(m, &policy));
        m->guests[0].pins = NULL;
        m->guests[0].pin_count = 0;
        model_free(m);
        m = random_cluster(seed, true); /* with groups, pins and members, if it has some */
        compare_swaps(m, &policy);
        model_free(m);
    }
    assert_true(said > 50);
    struct policy ganeti = policy_ganeti();
    size_t len;
    char *text = read_data("hbal-dyn", &len);
    struct ganeti_text file;
    assert_int_equal(ganeti_text_read(&file, "hbal-dyn", text, len, NULL, NULL), 0);
    for (int g = 0; g < file.model->guest_count; g++)
        model_place(file.model, g, file.model->at[g], -1);
    assert_true(compare_swaps(file.model, &ganeti));
    ganeti_text_fini(&file);
    free(text);
}

/* What members do counts where they are, whoever goes where; what the guest exchanges with them on the links of both,
 * and on none where it is beside one. */
static void members_work_where_they_are(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    struct model *m = model_new(MODEL_DROVER);
    struct model_node node = {.rack = -1, .site = -1, .vcpus = 8, .memory = 8192, .load_capacity = {8, 8192, 50, 100}};
    struct model_guest guest = {.movable = true, .measured = true, .memory = 64, .vcpus = 1, .moved_ago_s = -1};
    struct score score;
    const int at[] = {2};
    assert_int_equal(model_add_node(m, "a", &node, NULL), 0);
    assert_int_equal(model_add_node(m, "b", &node, NULL), 1);
    node.pressure[RESOURCE_DISK] = 0.5;
    assert_int_equal(model_add_node(m, "c", &node, NULL), 2);
    guest.storage = calloc(2, sizeof *guest.storage);
    assert_non_null(guest.storage);
    guest.storage[0] = (struct model_storage){0, 10};
    guest.storage[1] = (struct model_storage){2, 10};
    guest.storage_count = 2;
    guest.load[RESOURCE_NETWORK] = 5;
    assert_int_equal(model_add_guest(m, "g", &guest, NULL), 0);
    assert_int_equal(model_ready(m, at, NULL, NULL), 0);
    static const double disks[] = {10, 0, 15}, networks[][3] = {{15, 0, 10}, {10, 25, 10}, {10, 0, 15}};
    for (int n = 0; n < 3; n++) {
        model_place(m, 0, n, -1);
        for (int i = 0; i < 3; i++) {
            assert_true(m->sum[i][SUM_LOAD_DISK] == disks[i]);
            assert_true(m->sum[i][SUM_LOAD_NETWORK] == networks[n][i]);
        }
    }
    assert_int_equal(score_init(&score, m, &policy, NULL), 0);
    double spreads[RESOURCE_COUNT];
    score_spreads(&score, spreads);
    assert_true(fabs(spreads[RESOURCE_DISK] - 0.1247) < 0.0001); /* told, though no move changes it */
    assert_true(score_after(&score, 0, 0, -1) < score_after(&score, 0, 1, -1));
    assert_true(score_spread(&score) < spreads[RESOURCE_DISK]); /* and no reason to begin */
    assert_true(model_load(m, 2, RESOURCE_DISK) == 0 && model_load(m, 2, RESOURCE_NETWORK) == 15 &&
                model_load(m, 0, RESOURCE_NETWORK) == 0);
    score_fini(&score);
    m->guests[0].load[RESOURCE_DISK] = 0.001; /* nor is it one when some guest has a disk of its own */
    model_guest_changed(m, 0);
    model_recount(m);
    assert_int_equal(score_init(&score, m, &policy, NULL), 0);
    score_spreads(&score, spreads);
    assert_true(fabs(spreads[RESOURCE_DISK] - 0.1247) < 0.0001 && score_spread(&score) < 0.1);
    score_fini(&score);
    model_free(m);
}

/* A 0 within a name once made the comparison read behind the name it was compared with. */
static void names_have_no_zero(void **state)
{
    (void)state;
    struct names names;
    names_init(&names, 1000);
    assert_int_equal(names_intern(&names, "a", 1), 0);
    assert_int_equal(names_intern(&names, "", 0), 1);
    for (size_t len = 1; len < 40; len++) {
        char text[40] = "a";
        assert_int_equal(names_find(&names, text, len), len == 1 ? 0 : -1);
        assert_int_equal(names_intern(&names, text, len), len == 1 ? 0 : -1);
    }
    names_fini(&names);
}

/* A group's cost is what its members' coming one after the other adds up to, in whatever order. */
static void groups_add_up(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct model *m = random_cluster(seed, true);
        double total = groups_total(m), left = total;
        for (int g = 0; g < m->guest_count; g++) {
            int at = m->at[g];
            if (at < 0)
                continue;
            left -= groups_leave(m, g, at, -1, -1);
            model_place(m, g, -1, -1);
        }
        assert_true(fabs(left) < 1e-9);
        assert_true(total >= 0);
        model_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_hbal),
        cmocka_unit_test(writes_what_it_read),
        cmocka_unit_test(names_the_line),
        cmocka_unit_test(quick_is_slow),
        cmocka_unit_test(quick_is_slow_with_mirrors),
        cmocka_unit_test(swap_is_two_moves),
        cmocka_unit_test(swaps_are_nearly_known),
        cmocka_unit_test(members_work_where_they_are),
        cmocka_unit_test(groups_add_up),
        cmocka_unit_test(names_have_no_zero),
    };
    return cmocka_run_group_tests_name("balancer_score", tests, NULL, NULL);
}
