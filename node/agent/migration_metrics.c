#include "node/agent/migration_metrics.h"

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

#include "node/agent/member.h"
#include "node/agent/migration.h"

static double number(const struct object *m, const char *key)
{
    return json_number_value(json_object_get(m->state, key));
}

static void family(FILE *f, const char *name, const char *help)
{
    fprintf(f, "# HELP drover_%s %s\n# TYPE drover_%s gauge\n", name, help, name);
}

struct sums {
    unsigned count[MIGRATION_PHASE_COUNT], post_copy;
    double bytes, longest_ms;
};

static void add(struct sums *s, const struct object *m)
{
    enum migration_phase phase = migration_phase_of(m);
    s->count[phase]++;
    if (phase != MIGRATION_DONE || !json_is_true(json_object_get(m->state, "post_copy")))
        return;
    s->post_copy++;
    s->bytes += number(m, "post_copy_bytes");
    double waited_ms = number(m, "longest_wait_ms");
    s->longest_ms = waited_ms > s->longest_ms ? waited_ms : s->longest_ms;
}

static const struct object *next_of(const struct mirror *mirror, const char *node, const struct object *m)
{
    do
        m = mirror_next(mirror, OBJECT_MIGRATION, m ? m->name : NULL);
    while (m && strcmp(object_spec_text(m, "from"), node) != 0);
    return m;
}

static double left_bytes(const struct object *m)
{
    return number(m, "total_bytes") - number(m, "done_bytes");
}

static double link_up(const struct object *m)
{
    return strcmp(member_text(m->state, "link"), "broken") != 0;
}

static void put_following(FILE *f, const struct mirror *mirror, const char *node)
{
    static const struct {
        const char *name, *help;
        double (*value)(const struct object *m);
    } families[] = {
        {"migration_left_bytes", "What a guest that has left this node still needs from here (post-copy).", left_bytes},
        {"migration_link_up", "0 while the connections that it comes over are broken.", link_up},
    };
    for (unsigned i = 0; i < sizeof families / sizeof *families; i++) {
        family(f, families[i].name, families[i].help);
        for (const struct object *m = next_of(mirror, node, NULL); m; m = next_of(mirror, node, m))
            if (migration_phase_of(m) == MIGRATION_FOLLOWING)
                fprintf(f, "drover_%s{guest=\"%s\"} %.17g\n", families[i].name, object_spec_text(m, "guest"),
                        families[i].value(m));
    }
}

void migration_metrics_put(FILE *f, const struct mirror *mirror, const char *node)
{
    struct sums s = {.post_copy = 0};
    for (const struct object *m = next_of(mirror, node, NULL); m; m = next_of(mirror, node, m))
        add(&s, m);
    family(f, "migrations", "Of guests that left this node or were to, as far as they are kept, by phase.");
    for (int phase = 0; phase < MIGRATION_PHASE_COUNT; phase++)
        fprintf(f, "drover_migrations{phase=\"%s\"} %u\n", migration_phase_name((enum migration_phase)phase),
                s.count[phase]);
    family(f, "migrations_post_copy", "Of those that are done, how many went before their last pages.");
    fprintf(f, "drover_migrations_post_copy %u\n", s.post_copy);
    family(f, "migrations_post_copy_bytes", "What followed these.");
    fprintf(f, "drover_migrations_post_copy_bytes %.17g\n", s.bytes);
    family(f, "migrations_longest_wait_seconds", "The longest time that one of these waited for a page.");
    fprintf(f, "drover_migrations_longest_wait_seconds %.17g\n", s.longest_ms / 1e3);
    put_following(f, mirror, node);
}
