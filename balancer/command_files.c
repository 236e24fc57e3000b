#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/command.h"
#include "balancer/model.h"
#include "node/base/err.h"
#include "node/base/whole_file.h"

enum { CLUSTER_BYTES_MAX = 256 << 20, POLICY_BYTES_MAX = 1 << 20, FIRST_BYTES = 1 << 16 };

int command_read_file(const char *path, size_t max, char **text, size_t *len, struct err *err)
{
    FILE *in = fopen(path, "re");
    if (!in)
        return err_set(err, errno, "%s: %s", path, strerror(errno));
    char *bytes = NULL;
    size_t have = 0, room = 0;
    int rc = 0;
    while (rc == 0 && !feof(in)) {
        if (have + 1 >= room) {
            room = room ? room * 2 : FIRST_BYTES;
            char *larger = have > max ? NULL : realloc(bytes, room);
            if (!larger) {
                rc = err_set(err, EFBIG, "%s: larger than %zu bytes, or no memory", path, max);
                break;
            }
            bytes = larger;
        }
        have += fread(bytes + have, 1, room - have - 1, in);
        if (ferror(in))
            rc = err_set(err, errno ? errno : EIO, "%s: cannot be read: %s", path, strerror(errno));
    }
    fclose(in);
    if (rc < 0) {
        free(bytes);
        return rc;
    }
    bytes[have] = 0;
    *text = bytes;
    *len = have;
    return 0;
}

int command_write_file(const char *path, const char *text, size_t len, struct err *err)
{
    int rc = text ? whole_file_write(path, text, len, 0644) : -ENOMEM;
    return rc < 0 ? err_set(err, -rc, "%s: cannot be written: %s", path, strerror(-rc)) : 0;
}

static int load_policy(struct policy *policy, const char *path, struct err *err)
{
    char *text;
    size_t len;
    int rc = command_read_file(path, POLICY_BYTES_MAX, &text, &len, err);
    if (rc < 0)
        return rc;
    rc = policy_read(policy, path, text, len, err);
    free(text);
    return rc;
}

static int load_use(struct model *model, const char *path, struct err *err)
{
    char *text;
    size_t len;
    int rc = command_read_file(path, CLUSTER_BYTES_MAX, &text, &len, err);
    if (rc < 0)
        return rc;
    rc = ganeti_text_read_use(model, path, text, len, err);
    free(text);
    return rc;
}

/* Ganeti's file under Drover's score: its loads are counted in guests, so a node's share is measured against its own.
 */
static void as_drover(struct model *m)
{
    m->family = MODEL_DROVER;
    for (int n = 0; n < m->node_count; n++) {
        struct model_node *node = &m->nodes[n];
        for (int r = 0; r < RESOURCE_COUNT; r++)
            node->load_capacity[r] = node->vcpus > 0 ? node->vcpus : 1;
    }
}

static int load_json(struct command_cluster *c, struct policy *policy, const struct command_files *files,
                     struct err *err)
{
    struct cluster_json json;
    int rc = files->strict ? cluster_json_read_strict(&json, files->cluster, c->text, c->len, policy, err)
                           : cluster_json_read(&json, files->cluster, c->text, c->len, policy, err);
    c->model = json.model;
    if (rc < 0)
        return rc;
    fputs(json.warnings, stderr);
    if (json.unsaid)
        fprintf(stderr, "and %d more\n", json.unsaid);
    c->link_learned = json.link_learned;
    policy_learn_link(policy, c->link_learned);
    return 0;
}

int command_load(struct command_cluster *c, struct policy *policy, const struct command_files *files, struct err *err)
{
    *c = (struct command_cluster){0};
    size_t n = strlen(files->cluster);
    c->is_ganeti = n > 5 && !strcmp(files->cluster + n - 5, ".data");
    bool ganeti_score = files->score ? !strcmp(files->score, "ganeti") : c->is_ganeti;
    if (ganeti_score && !c->is_ganeti)
        return err_set(err, EINVAL, "--score ganeti needs a cluster in Ganeti's format (a file ending in .data)");
    *policy = ganeti_score ? policy_ganeti() : policy_default();
    int rc = files->policy ? load_policy(policy, files->policy, err) : 0;
    rc = rc == 0 ? command_read_file(files->cluster, CLUSTER_BYTES_MAX, &c->text, &c->len, err) : rc;
    if (rc < 0)
        return rc;
    if (c->is_ganeti) {
        rc = ganeti_text_read(&c->ganeti, files->cluster, c->text, c->len, files->group, err);
        c->model = c->ganeti.model;
        if (rc == 0)
            fputs(c->ganeti.warnings, stderr);
    } else {
        rc = load_json(c, policy, files, err);
    }
    rc = rc == 0 && files->utilization ? load_use(c->model, files->utilization, err) : rc;
    if (rc == 0 && c->is_ganeti && !ganeti_score)
        as_drover(c->model);
    if (rc < 0)
        command_unload(c);
    return rc;
}

int command_load_policy(struct policy *policy, const char *path, const struct command_cluster *c, struct err *err)
{
    *policy = policy_default();
    int rc = load_policy(policy, path, err);
    policy_learn_link(policy, c->link_learned);
    return rc;
}

void command_unload(struct command_cluster *c)
{
    if (c->is_ganeti)
        ganeti_text_fini(&c->ganeti);
    else
        model_free(c->model);
    free(c->text);
    *c = (struct command_cluster){0};
}
