/* Reading: one pass finds the five sections, then each section is read in its order, because instances name nodes and
 * tags of the cluster say what the tags of nodes and instances mean. */
#include "balancer/ganeti_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/ganeti_tags.h"
#include "balancer/model.h"
#include "balancer/text_line.h"
#include "node/base/err.h"

enum { SECTIONS_MAX = 5, FIELDS_MAX = 16, GROUPS_MAX = 1000, FILE_MAX = 256 << 20 };

static const double SIZE_MAX_MIB = 1e12, CPU_MAX = 1e6;

enum section { GROUPS, NODES, GUESTS, TAGS, POLICIES };

struct ganeti_group {
    struct text_field name, uuid;
    double vcpu_ratio, spindle_ratio;
};

struct reading {
    struct ganeti_text *file;
    struct model *model;
    const char *name;
    struct text_field section[SECTIONS_MAX];
    int line[SECTIONS_MAX]; /* of its first line */
    int sections;
    struct ganeti_group groups[GROUPS_MAX];
    int group_count;
    int *at, *mirror;
    int guests;
    struct err *err;
};

static int refuse(struct reading *r, int line, const char *field, struct text_field value, const char *wanted)
{
    return err_set(r->err, EINVAL, "%s:%d: %s is '%.*s': %s", r->name, line, field,
                   (int)(value.len < 80 ? value.len : 80), value.at, wanted);
}

static int find_sections(struct reading *r)
{
    struct text_field rest = {r->file->text, r->file->len}, line;
    int number = 0;
    r->sections = 1;
    r->section[0] = (struct text_field){rest.at, 0};
    r->line[0] = 1;
    while (text_line_next(&rest, &line)) {
        number++;
        if (line.len) {
            struct text_field *s = &r->section[r->sections - 1];
            s->len = (size_t)(line.at + line.len - s->at);
            continue;
        }
        if (r->sections == SECTIONS_MAX && !rest.len)
            break;
        if (r->sections == SECTIONS_MAX)
            return err_set(r->err, EINVAL,
                           "%s:%d: a sixth section begins here: groups, nodes, instances, tags and "
                           "policies are five, parted by one empty line each",
                           r->name, number + 1);
        r->line[r->sections] = number + 1;
        r->section[r->sections++] = (struct text_field){rest.at, 0};
    }
    if (r->sections < TAGS + 1)
        return err_set(r->err, EINVAL,
                       "%s: %d sections, but four or five parted by empty lines make a cluster: groups, "
                       "nodes, instances, tags, policies",
                       r->name, r->sections);
    return 0;
}

static int read_group(struct reading *r, int line, struct text_field *f, int count)
{
    if (count < 3)
        return refuse(r, line, "the group", f[0], "name|uuid|allocation policy|tags are needed");
    if (r->group_count == GROUPS_MAX)
        return err_set(r->err, ENOSPC, "%s:%d: more than %d groups", r->name, line, GROUPS_MAX);
    r->groups[r->group_count++] = (struct ganeti_group){f[0], f[1], 4, 32};
    return 0;
}

static int find_group(const struct reading *r, struct text_field uuid)
{
    for (int i = 0; i < r->group_count; i++)
        if (r->groups[i].uuid.len == uuid.len && !memcmp(r->groups[i].uuid.at, uuid.at, uuid.len))
            return i;
    return -1;
}

static int read_number(struct reading *r, int line, const char *field, struct text_field f, double max, double *to)
{
    return text_field_number(f, 0, max, to) ? 0 : refuse(r, line, field, f, "a number of at least 0 is needed");
}

/* The numbers of a node that answers. */
static int read_node_numbers(struct reading *r, int line, struct text_field *f, int count, struct model_node *node)
{
    if (read_number(r, line, "memory", f[1], SIZE_MAX_MIB, &node->memory) < 0 ||
        read_number(r, line, "the node's own memory", f[2], SIZE_MAX_MIB, &node->memory_own) < 0 ||
        read_number(r, line, "free memory", f[3], SIZE_MAX_MIB, &node->memory_free) < 0 ||
        read_number(r, line, "disk", f[4], SIZE_MAX_MIB, &node->disk) < 0 ||
        read_number(r, line, "free disk", f[5], SIZE_MAX_MIB, &node->disk_free) < 0 ||
        read_number(r, line, "CPUs", f[6], CPU_MAX, &node->vcpus) < 0)
        return -EINVAL;
    if (node->memory <= 0 || node->vcpus <= 0)
        return refuse(r, line, "memory or CPUs", f[0], "a node that is not offline has some");
    if ((count > 9 && read_number(r, line, "spindles", f[9], CPU_MAX, &node->spindles) < 0) ||
        (count > 13 && read_number(r, line, "the node's own CPUs", f[13], CPU_MAX, &node->vcpus_own) < 0) ||
        (count > 14 && read_number(r, line, "CPU speed", f[14], CPU_MAX, &node->speed) < 0))
        return -EINVAL;
    node->exclusive_storage = count > 11 && text_field_is(f[11], "Y");
    return node->speed > 0 ? 0 : refuse(r, line, "CPU speed", f[14], "a number above 0 is needed");
}

static bool unknown_number(const struct text_field *f)
{
    bool unknown = false;
    for (int i = 1; i <= 6; i++)
        unknown |= text_field_is(f[i], "?");
    return unknown;
}

static int read_node(struct reading *r, int line, struct text_field *f, int count)
{
    if (count < 9)
        return refuse(r, line, "the node", f[0],
                      "name|memory|own memory|free memory|disk|free disk|CPUs|N, M or "
                      "Y|group are needed");
    struct model_node node = {.rack = -1, .site = -1, .speed = 1, .spindles = 1, .vcpus_own = 1};
    for (int i = 0; i < RESOURCE_COUNT; i++)
        node.load_capacity[i] = 1;
    if (text_field_is(f[7], "Y") || unknown_number(f)) {
        node.offline = true;
    } else if (!text_field_is(f[7], "N") && !text_field_is(f[7], "M")) {
        return refuse(r, line, "the node's role", f[7], "N (node), M (master) or Y (offline) is needed");
    } else {
        int rc = read_node_numbers(r, line, f, count, &node);
        if (rc < 0)
            return rc;
    }
    node.master = text_field_is(f[7], "M");
    node.group = find_group(r, f[8]);
    if (node.group < 0)
        return refuse(r, line, "the node's group", f[8], "no group above has this uuid");
    node.vcpu_ratio = r->groups[node.group].vcpu_ratio;
    node.spindle_ratio = r->groups[node.group].spindle_ratio;
    struct text_field none = {0};
    if (ganeti_tags_node(r->model, r->section[TAGS], count > 10 ? f[10] : none, &node) < 0)
        return refuse(r, line, "tags", f[10], "more than 256 different tags that mean something: use fewer");
    char name[256];
    if (!f[0].len || f[0].len >= sizeof name || memchr(f[0].at, 0, f[0].len))
        return refuse(r, line, "the node's name", f[0], "1 to 255 characters are needed");
    memcpy(name, f[0].at, f[0].len);
    name[f[0].len] = 0;
    int n = model_add_node(r->model, name, &node, r->err);
    if (n < 0)
        return err_prefix(r->err, "%s:%d", r->name, line);
    r->file->node_at[n] = (size_t)(f[0].at - r->file->text);
    return 0;
}

static bool in_list(struct text_field f, const char *const *list)
{
    for (; *list; list++)
        if (text_field_is(f, *list))
            return true;
    return false;
}

static int read_template(struct reading *r, int line, struct text_field f, struct model_guest *guest)
{
    static const char *const movable[] = {"drbd", "blockdev", "sharedfile", "gluster", "rbd", "ext", NULL};
    static const char *const fixed[] = {"plain", "file", "diskless", NULL};
    guest->movable = in_list(f, movable);
    if (!guest->movable && !in_list(f, fixed))
        return refuse(r, line, "the disk template", f,
                      "drbd, plain, file, sharedfile, gluster, blockdev, rbd, ext or "
                      "diskless is needed");
    guest->mirrored = text_field_is(f, "drbd");
    guest->local = guest->mirrored || text_field_is(f, "plain");
    return 0;
}

static int read_state(struct reading *r, int line, struct text_field f, struct model_guest *guest)
{
    static const char *const down[] = {
        "ADMIN_down", "ERROR_down", "ERROR_nodedown", "ERROR_nodeoffline", "ERROR_wrongnode", "USER_down", NULL};
    if (text_field_is(f, "running") || text_field_is(f, "ERROR_up"))
        guest->state = GUEST_RUNNING;
    else if (text_field_is(f, "ADMIN_offline"))
        guest->state = GUEST_OFFLINE;
    else if (in_list(f, down))
        guest->state = GUEST_DOWN;
    else
        return refuse(r, line, "the status", f, "running, ADMIN_down, ADMIN_offline, USER_down or an ERROR_ is needed");
    return 0;
}

/* The two nodes of a guest. */
static int read_places(struct reading *r, int line, struct text_field *f, struct model_guest *guest, int *at,
                       int *mirror)
{
    *at = names_find(&r->model->node_names, f[6].at, f[6].len);
    if (*at < 0)
        return refuse(r, line, "the primary node", f[6], "no node above has this name");
    *mirror = f[7].len ? names_find(&r->model->node_names, f[7].at, f[7].len) : -1;
    if (f[7].len && *mirror < 0)
        return refuse(r, line, "the secondary node", f[7], "no node above has this name");
    if (*at == *mirror)
        return refuse(r, line, "the secondary node", f[7], "it must be another one than the primary");
    if (guest->mirrored != (*mirror >= 0))
        return refuse(r, line, "the secondary node", f[7], "drbd needs one, other templates have none");
    const struct model_node *nodes = r->model->nodes;
    if (nodes[*at].outside || (*mirror >= 0 && nodes[*mirror].outside))
        guest->movable = false;
    return 0;
}

/* Names may come twice in this format; the second is told apart by a number. */
static int add_guest(struct reading *r, struct text_field name, const struct model_guest *guest)
{
    char copy[300];
    if (!name.len || name.len > 255 || memchr(name.at, 0, name.len))
        return err_set(r->err, EINVAL, "an instance's name needs 1 to 255 characters");
    memcpy(copy, name.at, name.len);
    copy[name.len] = 0;
    for (int i = 2; names_find(&r->model->guest_names, copy, strlen(copy)) >= 0 && i < 1000; i++)
        snprintf(copy, sizeof copy, "%.*s#%d", (int)name.len, name.at, i);
    return model_add_guest(r->model, copy, guest, r->err);
}

static int read_guest(struct reading *r, int line, struct text_field *f, int count)
{
    if (count < 10)
        return refuse(r, line, "the instance", f[0],
                      "name|memory|disk|vCPUs|status|auto_balance|primary|secondary|"
                      "template|tags are needed");
    struct model_guest guest = {.spindles = 1, .measured = true, .moved_ago_s = -1, .came_from = -1};
    for (int i = 0; i < RESOURCE_COUNT; i++)
        guest.load[i] = 1;
    int at = -1, mirror = -1;
    if (read_number(r, line, "memory", f[1], SIZE_MAX_MIB, &guest.memory) < 0 ||
        read_number(r, line, "disk", f[2], SIZE_MAX_MIB, &guest.disk) < 0 ||
        read_number(r, line, "vCPUs", f[3], CPU_MAX, &guest.vcpus) < 0 || read_state(r, line, f[4], &guest) < 0 ||
        read_template(r, line, f[8], &guest) < 0 || read_places(r, line, f, &guest, &at, &mirror) < 0 ||
        (count > 10 && read_number(r, line, "spindles", f[10], CPU_MAX, &guest.spindles) < 0))
        return -EINVAL;
    if (!text_field_is(f[5], "Y") && !text_field_is(f[5], "N"))
        return refuse(r, line, "auto_balance", f[5], "Y or N is needed");
    guest.balanced = text_field_is(f[5], "Y");
    guest.movable &= guest.balanced;
    guest.planned = count > 12 && text_field_is(f[12], "Y");
    int n = add_guest(r, f[0], &guest);
    if (n < 0)
        return err_prefix(r->err, "%s:%d", r->name, line);
    r->file->guest_at[n] = (size_t)(f[0].at - r->file->text);
    r->at[n] = at;
    r->mirror[n] = mirror;
    if (ganeti_tags_guest(r->model, r->section[TAGS], f[9], n) < 0)
        return refuse(r, line, "tags", f[9], "too many different tags that mean something: use fewer");
    return 0;
}

/* A policy's line says whose it is first; without an owner it is the cluster's, which nodes do not ask. */
static int read_policy(struct reading *r, int line, struct text_field *f, int count)
{
    if (count != 6)
        return refuse(r, line, "the policy", f[0],
                      "owner|standard|limits|templates|vCPU ratio|spindle ratio are needed");
    double vcpu_ratio, spindle_ratio;
    if (read_number(r, line, "the vCPU ratio", f[4], CPU_MAX, &vcpu_ratio) < 0 ||
        read_number(r, line, "the spindle ratio", f[5], CPU_MAX, &spindle_ratio) < 0)
        return -EINVAL;
    for (int i = 0; i < r->group_count; i++) {
        struct ganeti_group *g = &r->groups[i];
        if (g->name.len != f[0].len || memcmp(g->name.at, f[0].at, f[0].len) != 0)
            continue;
        g->vcpu_ratio = vcpu_ratio;
        g->spindle_ratio = spindle_ratio;
        return 0;
    }
    return f[0].len ? refuse(r, line, "the policy's owner", f[0], "no group above has this name") : 0;
}

static int read_section(struct reading *r, enum section which,
                        int (*read)(struct reading *, int, struct text_field *, int))
{
    if (which >= (enum section)r->sections)
        return 0;
    struct text_field rest = r->section[which], line;
    int number = r->line[which], rc = 0;
    while (rc == 0 && text_line_next(&rest, &line)) {
        struct text_field fields[FIELDS_MAX] = {0};
        int count = text_line_cut(line, '|', fields, FIELDS_MAX);
        rc = read(r, number++, fields, count < FIELDS_MAX ? count : FIELDS_MAX);
    }
    return rc;
}

/* The group that is meant: the only one with nodes, or the one that was named. */
static int choose_group(struct reading *r, const char *group)
{
    int chosen = -1, with_nodes = 0;
    for (int i = 0; i < r->group_count; i++) {
        bool used = false;
        for (int n = 0; n < r->model->node_count; n++)
            used |= r->model->nodes[n].group == i;
        with_nodes += used;
        if (group ? text_field_is(r->groups[i].name, group) : used)
            chosen = i;
    }
    if (group && chosen < 0)
        return err_set(r->err, ENOENT, "%s: there is no node group '%s'", r->name, group);
    if (!group && with_nodes > 1)
        return err_set(r->err, EINVAL, "%s: %d node groups: say with --group which one to balance", r->name,
                       with_nodes);
    for (int n = 0; n < r->model->node_count; n++)
        r->model->nodes[n].outside = r->model->nodes[n].group != chosen;
    return 0;
}

static void warn_of_contradictions(struct ganeti_text *file)
{
    size_t used = 0;
    const struct model *m = file->model;
    for (int n = 0; n < m->node_count && used < sizeof file->warnings; n++) {
        const struct model_node *node = &m->nodes[n];
        double disk = node->disk - node->disk_free - m->sum[n][SUM_DISK];
        if (node->offline || (node->unaccounted <= 512 && disk <= 1024))
            continue;
        used +=
            (size_t)snprintf(file->warnings + used, sizeof file->warnings - used,
                             "node %s uses %.0f MiB of memory and %.0f MiB of disk that no guest accounts for\n",
                             model_node_name(m, n), node->unaccounted > 0 ? node->unaccounted : 0, disk > 0 ? disk : 0);
    }
}

static int read_all(struct reading *r, const char *group)
{
    size_t lines = 1;
    for (size_t i = 0; i < r->file->len; i++)
        lines += r->file->text[i] == '\n';
    r->at = malloc(lines * sizeof *r->at);
    r->mirror = malloc(lines * sizeof *r->mirror);
    r->file->node_at = malloc(lines * sizeof *r->file->node_at);
    r->file->guest_at = malloc(lines * sizeof *r->file->guest_at);
    if (!r->at || !r->mirror || !r->file->node_at || !r->file->guest_at)
        return err_set(r->err, ENOMEM, "no memory for %s", r->name);
    int rc = find_sections(r);
    if (rc == 0)
        rc = read_section(r, GROUPS, read_group);
    if (rc == 0)
        rc = read_section(r, POLICIES, read_policy);
    if (rc == 0)
        rc = read_section(r, NODES, read_node);
    if (rc == 0)
        rc = choose_group(r, group);
    if (rc == 0)
        rc = read_section(r, GUESTS, read_guest);
    return rc == 0 ? model_ready(r->model, r->at, r->mirror, r->err) : rc;
}

int ganeti_text_read(struct ganeti_text *file, const char *name, const char *text, size_t len, const char *group,
                     struct err *err)
{
    *file = (struct ganeti_text){.len = len};
    if (len > FILE_MAX)
        return err_set(err, EFBIG, "%s is larger than %d MiB", name, FILE_MAX >> 20);
    struct reading *r = calloc(1, sizeof *r);
    file->text = malloc(len + 1);
    file->model = model_new(MODEL_GANETI);
    int rc = -ENOMEM;
    if (!r || !file->text || !file->model) {
        err_set(err, ENOMEM, "no memory for %s", name);
        goto out;
    }
    if (len)
        memcpy(file->text, text, len);
    file->text[len] = 0;
    r->file = file;
    r->model = file->model;
    r->name = name;
    r->err = err;
    rc = read_all(r, group);
    if (rc == 0)
        warn_of_contradictions(file);
out:
    if (r) {
        free(r->at);
        free(r->mirror);
    }
    free(r);
    if (rc < 0)
        ganeti_text_fini(file);
    return rc;
}

void ganeti_text_fini(struct ganeti_text *file)
{
    model_free(file->model);
    free(file->text);
    free(file->node_at);
    free(file->guest_at);
    *file = (struct ganeti_text){0};
}

int ganeti_text_read_use(struct model *m, const char *name, const char *text, size_t len, struct err *err)
{
    struct text_field rest = {text, len}, line;
    for (int number = 1; text_line_next(&rest, &line); number++) {
        struct text_field words[5];
        int count = text_line_words(line, words, 5);
        if (!count)
            continue;
        if (count != 5)
            return err_set(err, EINVAL, "%s:%d: %d words, but 'instance cpu memory disk network' are needed", name,
                           number, count);
        int guest = names_find(&m->guest_names, words[0].at, words[0].len);
        if (guest < 0)
            return err_set(err, ENOENT, "%s:%d: no instance is named '%.*s'", name, number,
                           (int)(words[0].len < 80 ? words[0].len : 80), words[0].at);
        for (int i = 0; i < RESOURCE_COUNT; i++)
            if (!text_field_number(words[i + 1], 0, 1e15, &m->guests[guest].load[i]))
                return err_set(err, EINVAL, "%s:%d: the %s value '%.*s' is not a number of at least 0", name, number,
                               (const char *[]){"cpu", "memory", "disk", "network"}[i],
                               (int)(words[i + 1].len < 80 ? words[i + 1].len : 80), words[i + 1].at);
        model_guest_changed(m, guest);
    }
    model_recount(m);
    return 0;
}
