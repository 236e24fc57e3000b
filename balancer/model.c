/* Building a model, and the sums that follow where guests are. */
#include "balancer/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"

struct model *model_new(enum model_family family)
{
    struct model *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->family = family;
    names_init(&m->node_names, MODEL_NODES_MAX);
    names_init(&m->guest_names, MODEL_GUESTS_MAX);
    names_init(&m->places, 2 * MODEL_NODES_MAX);
    names_init(&m->group_names, MODEL_GUESTS_MAX);
    names_init(&m->networks, BITS_MAX);
    names_init(&m->pools, BITS_MAX);
    names_init(&m->cpu_models, BITS_MAX);
    names_init(&m->tags, BITS_MAX);
    names_init(&m->reasons, BITS_MAX);
    return m;
}

static void free_sums(struct model *m)
{
    free(m->at);
    free(m->mirror);
    free(m->use);
    free(m->copy);
    free(m->sum);
    free(m->standing);
    free(m->home);
    free(m->home_mirror);
    free(m->came);
    free(m->counted);
    free(m->held);
    free(m->count);
    free(m->mirrors);
    free(m->peers);
    free(m->reserved);
    free(m->first);
    free(m->next);
    free(m->prev);
    free(m->group_start);
    free(m->group_of);
    free(m->up);
    group_counts_fini(&m->members);
}

void model_free(struct model *m)
{
    if (!m)
        return;
    free_sums(m);
    for (int i = 0; i < m->guest_count; i++) {
        free(m->guests[i].pins);
        free(m->guests[i].storage);
    }
    for (int i = 0; i < m->group_count; i++)
        free(m->groups[i].members);
    free(m->nodes);
    free(m->guests);
    free(m->groups);
    names_fini(&m->node_names);
    names_fini(&m->guest_names);
    names_fini(&m->places);
    names_fini(&m->group_names);
    names_fini(&m->networks);
    names_fini(&m->pools);
    names_fini(&m->cpu_models);
    names_fini(&m->tags);
    names_fini(&m->reasons);
    free(m);
}

/* Room for one more; `rows` is an array of `size` bytes each. */
static int make_room(void **rows, int count, int *room, size_t size, struct err *err)
{
    if (count < *room)
        return 0;
    int wanted = *room ? *room * 2 : 64;
    void *larger = realloc(*rows, (size_t)wanted * size);
    if (!larger)
        return err_set(err, ENOMEM, "no memory for a model of %d entries", wanted);
    *rows = larger;
    *room = wanted;
    return 0;
}

/* A name that nobody has yet; its number is the count of names before it. */
static int new_name(struct names *names, const char *name, const char *kind, struct err *err)
{
    size_t len = strlen(name);
    if (names_find(names, name, len) >= 0)
        return err_set(err, EEXIST, "%s '%s' is there twice: give each its own name", kind, name);
    int number = names_intern(names, name, len);
    return number >= 0 ? number : err_set(err, ENOSPC, "more than %d of kind %s, or no memory", names->limit, kind);
}

int model_add_node(struct model *m, const char *name, const struct model_node *node, struct err *err)
{
    int number = new_name(&m->node_names, name, "node", err);
    if (number < 0)
        return number;
    int rc = make_room((void **)&m->nodes, m->node_count, &m->node_room, sizeof *m->nodes, err);
    if (rc < 0)
        return rc;
    m->nodes[m->node_count] = *node;
    m->nodes[m->node_count].name = number;
    return m->node_count++;
}

int model_add_guest(struct model *m, const char *name, const struct model_guest *guest, struct err *err)
{
    int number = new_name(&m->guest_names, name, "guest", err);
    if (number < 0)
        return number;
    int rc = make_room((void **)&m->guests, m->guest_count, &m->guest_room, sizeof *m->guests, err);
    if (rc < 0)
        return rc;
    m->guests[m->guest_count] = *guest;
    m->guests[m->guest_count].name = number;
    return m->guest_count++;
}

int model_add_group(struct model *m, const char *name, const struct model_group *group, struct err *err)
{
    int number = names_intern(&m->group_names, name, strlen(name));
    if (number < 0)
        return err_set(err, ENOSPC, "too many groups, or no memory");
    int rc = make_room((void **)&m->groups, m->group_count, &m->group_room, sizeof *m->groups, err);
    if (rc < 0)
        return rc;
    m->groups[m->group_count] = *group;
    m->groups[m->group_count].name = number;
    m->groups[m->group_count].members = NULL;
    m->groups[m->group_count].count = m->groups[m->group_count].room = 0;
    return m->group_count++;
}

int model_add_member(struct model *m, int group, int guest, struct err *err)
{
    struct model_group *g = &m->groups[group];
    if (g->count >= MODEL_MEMBERS_MAX)
        return err_set(err, ENOSPC, "group '%s' has more than %d members", m->group_names.text[g->name],
                       MODEL_MEMBERS_MAX);
    int rc = make_room((void **)&g->members, g->count, &g->room, sizeof *g->members, err);
    if (rc == 0)
        g->members[g->count++] = guest;
    return rc;
}

/* ---- ready ---- */

static void fill_use(const struct model *m, int guest, double *use, double *copy)
{
    const struct model_guest *g = &m->guests[guest];
    bool on = g->state != GUEST_OFFLINE;
    use[SUM_PLANNED_MEMORY] = g->memory;
    use[SUM_PLANNED_DISK] = g->local ? g->disk : 0;
    use[SUM_PLANNED_VCPUS] = on ? g->vcpus : 0;
    use[SUM_PLANNED_SPINDLES] = g->local ? g->spindles : 0;
    if (!g->planned) {
        use[SUM_MEMORY] = on ? g->memory : 0;
        use[SUM_DISK] = use[SUM_PLANNED_DISK];
        use[SUM_VCPUS] = use[SUM_PLANNED_VCPUS];
        use[SUM_SPINDLES] = use[SUM_PLANNED_SPINDLES];
        for (int r = 0; r < RESOURCE_COUNT; r++)
            use[SUM_LOAD_CPU + r] = g->load[r];
        for (int i = 0; i < g->storage_count; i++)
            use[SUM_LOAD_NETWORK] += g->storage[i].bytes_per_s;
    }
    if (!copy || !g->mirrored)
        return;
    copy[SUM_PLANNED_DISK] = g->disk;
    copy[SUM_PLANNED_SPINDLES] = g->spindles;
    if (!g->planned) {
        copy[SUM_DISK] = g->disk;
        copy[SUM_SPINDLES] = g->spindles;
        copy[SUM_LOAD_DISK] = g->load[RESOURCE_DISK];
    }
}

static int allocate(struct model *m)
{
    size_t nodes = (size_t)m->node_count + 1, guests = (size_t)m->guest_count + 1;
    m->at = malloc(guests * sizeof *m->at);
    m->mirror = malloc(guests * sizeof *m->mirror);
    m->use = calloc(guests, sizeof *m->use);
    m->sum = calloc(nodes, sizeof *m->sum);
    m->standing = calloc(nodes, sizeof *m->standing);
    m->home = malloc(guests * sizeof *m->home);
    m->home_mirror = malloc(guests * sizeof *m->home_mirror);
    m->came = calloc(nodes, sizeof *m->came);
    m->counted = calloc(guests, sizeof *m->counted);
    m->held = calloc(nodes, sizeof *m->held);
    m->count = calloc(nodes, sizeof *m->count);
    m->mirrors = calloc(nodes, sizeof *m->mirrors);
    m->reserved = calloc(nodes, sizeof *m->reserved);
    m->first = malloc(nodes * sizeof *m->first);
    m->next = malloc(guests * sizeof *m->next);
    m->prev = malloc(guests * sizeof *m->prev);
    m->group_start = calloc(guests + 1, sizeof *m->group_start);
    m->up = calloc(nodes, sizeof *m->up);
    if (m->has_mirrors) {
        m->copy = calloc(guests, sizeof *m->copy);
        m->peers = calloc(nodes * nodes, sizeof *m->peers);
    }
    bool whole = m->at && m->mirror && m->use && m->sum && m->standing && m->home && m->home_mirror && m->came &&
                 m->counted && m->held && m->count && m->mirrors && m->reserved && m->first && m->next && m->prev &&
                 m->group_start && m->up && (!m->has_mirrors || (m->copy && m->peers));
    return whole ? 0 : -ENOMEM;
}

/* Who was named twice is a member once. seen: [guests], the last group he was seen in. */
static void name_once(struct model *m, int group, int *seen)
{
    struct model_group *g = &m->groups[group];
    int kept = 0;
    for (int j = 0; j < g->count; j++) {
        int member = g->members[j];
        if (seen[member] != group)
            g->members[kept++] = member;
        seen[member] = group;
    }
    g->count = kept;
}

static int index_groups(struct model *m)
{
    int total = 0, *fill = malloc(((size_t)m->guest_count + 1) * sizeof *fill);
    for (int i = 0; fill && i < m->guest_count; i++)
        fill[i] = -1;
    for (int i = 0; fill && i < m->group_count; i++) {
        name_once(m, i, fill);
        total += m->groups[i].count;
        for (int j = 0; j < m->groups[i].count; j++)
            m->group_start[m->groups[i].members[j] + 1]++;
    }
    for (int i = 0; i < m->guest_count; i++)
        m->group_start[i + 1] += m->group_start[i];
    m->group_of = malloc(((size_t)total + 1) * sizeof *m->group_of);
    if (!m->group_of || !fill) {
        free(fill);
        return -ENOMEM;
    }
    for (int i = 0; i < m->guest_count; i++)
        fill[i] = m->group_start[i];
    for (int i = 0; i < m->group_count; i++)
        for (int j = 0; j < m->groups[i].count; j++)
            m->group_of[fill[m->groups[i].members[j]]++] = i;
    free(fill);
    return 0;
}

/* What is free today is what was reported, or what the records say if that is less. */
static void anchor_nodes(struct model *m)
{
    for (int n = 0; n < m->node_count; n++) {
        struct model_node *node = &m->nodes[n];
        double recorded = node->memory - node->memory_own - m->sum[n][SUM_MEMORY];
        node->unaccounted = recorded - node->memory_free;
        double extra = node->unaccounted > 0 ? node->unaccounted : 0;
        node->free_at_load = node->memory - node->memory_own - extra;
        node->disk_at_load = node->disk_free + m->sum[n][SUM_DISK];
        node->planned_at_load = node->memory_free + m->sum[n][SUM_MEMORY];
    }
}

int model_ready(struct model *m, const int *at, const int *mirror, struct err *err)
{
    for (int g = 0; g < m->guest_count; g++)
        m->has_mirrors |= mirror && mirror[g] >= 0;
    if (m->has_mirrors && m->node_count > MODEL_MIRROR_NODES_MAX)
        return err_set(err, E2BIG,
                       "guests with mirrors are planned for up to %d nodes, these are %d: split the cluster",
                       MODEL_MIRROR_NODES_MAX, m->node_count);
    if (allocate(m) < 0 || index_groups(m) < 0 || group_counts_init(&m->members, m) < 0)
        return err_set(err, ENOMEM, "no memory for a model of %d nodes and %d guests", m->node_count, m->guest_count);
    for (int g = 0; g < m->guest_count; g++) {
        m->at[g] = m->home[g] = at[g];
        m->mirror[g] = m->home_mirror[g] = mirror ? mirror[g] : -1;
        fill_use(m, g, m->use[g], m->copy ? m->copy[g] : NULL);
    }
    model_recount(m);
    anchor_nodes(m);
    return 0;
}

/* ---- change ---- */

static void add_row(double *sum, const double *row, double sign)
{
    for (int k = 0; k < SUM_COUNT; k++)
        sum[k] += sign * row[k];
}

static bool needs_reserve(const struct model_guest *g)
{
    return g->state != GUEST_OFFLINE && g->balanced && !g->planned;
}

static void link_guest(struct model *m, int guest)
{
    int n = m->at[guest];
    if (n < 0)
        return;
    m->next[guest] = m->first[n];
    m->prev[guest] = -1;
    if (m->first[n] >= 0)
        m->prev[m->first[n]] = guest;
    m->first[n] = guest;
}

static void unlink_guest(struct model *m, int guest)
{
    int n = m->at[guest];
    if (n < 0)
        return;
    if (m->prev[guest] >= 0)
        m->next[m->prev[guest]] = m->next[guest];
    else
        m->first[n] = m->next[guest];
    if (m->next[guest] >= 0)
        m->prev[m->next[guest]] = m->prev[guest];
}

static void reserve(struct model *m, int guest, double sign)
{
    int n = m->mirror[guest], p = m->at[guest];
    const struct model_guest *g = &m->guests[guest];
    if (n < 0 || p < 0 || !needs_reserve(g))
        return;
    double *row = m->peers + (size_t)n * (size_t)m->node_count;
    double before = row[p];
    row[p] += sign * g->memory;
    if (row[p] >= m->reserved[n]) {
        m->reserved[n] = row[p];
    } else if (before >= m->reserved[n]) {
        double largest = 0;
        for (int i = 0; i < m->node_count; i++)
            largest = row[i] > largest ? row[i] : largest;
        m->reserved[n] = largest;
    }
}

/* Guests that are where they were not in the beginning, but for those that had to leave. */
static void count_coming(struct model *m, int guest, int n, bool comes)
{
    int home = m->home[guest];
    if (!comes) {
        m->came[n] -= m->counted[guest];
        m->counted[guest] = 0;
    } else if (n != home && home >= 0 && !m->nodes[home].offline) {
        m->came[n]++;
        m->counted[guest] = 1;
    }
}

static void count_guest(struct model *m, int guest, double sign)
{
    int n = m->at[guest], s = m->mirror[guest], one = m->guests[guest].planned ? 0 : (int)sign;
    if (n >= 0) {
        add_row(m->sum[n], m->use[guest], sign);
        double near = model_near(&m->guests[guest], n);
        m->sum[n][SUM_LOAD_NETWORK] -= sign * near;
        m->standing[n][RESOURCE_NETWORK] -= sign * near / 2; /* of the member, the other half of the guest */
        m->count[n] += one;
        if (m->up[n])
            group_counts_add(&m->members, m, guest, n, (int)sign);
        count_coming(m, guest, n, sign > 0);
    }
    if (s >= 0) {
        add_row(m->sum[s], m->copy[guest], sign);
        m->mirrors[s] += one;
    }
    reserve(m, guest, sign);
}

/* Members stay where they are, whoever goes where. */
static void count_members(struct model *m, int guest)
{
    const struct model_guest *g = &m->guests[guest];
    for (int i = 0; i < g->storage_count; i++) {
        double work[RESOURCE_COUNT] = {[RESOURCE_NETWORK] = g->storage[i].bytes_per_s};
        work[RESOURCE_DISK] = model_disk_work(&m->nodes[g->storage[i].node], work[RESOURCE_NETWORK]);
        for (int r = 0; r < RESOURCE_COUNT; r++) {
            m->standing[g->storage[i].node][r] += work[r];
            m->sum[g->storage[i].node][SUM_LOAD_CPU + r] += work[r];
        }
    }
}

void model_recount(struct model *m)
{
    size_t nodes = (size_t)m->node_count;
    memset(m->sum, 0, nodes * sizeof *m->sum);
    memset(m->standing, 0, nodes * sizeof *m->standing);
    memset(m->came, 0, nodes * sizeof *m->came);
    memset(m->counted, 0, (size_t)m->guest_count * sizeof *m->counted);
    memset(m->count, 0, nodes * sizeof *m->count);
    memset(m->mirrors, 0, nodes * sizeof *m->mirrors);
    memset(m->reserved, 0, nodes * sizeof *m->reserved);
    if (m->peers)
        memset(m->peers, 0, nodes * nodes * sizeof *m->peers);
    group_counts_clear(&m->members);
    for (int n = 0; n < m->node_count; n++) {
        m->first[n] = -1;
        m->up[n] = !m->nodes[n].offline && !m->nodes[n].outside;
    }
    for (int g = m->guest_count - 1; g >= 0; g--) {
        link_guest(m, g);
        count_guest(m, g, 1);
        count_members(m, g);
    }
    m->changes = 0;
}

void model_place(struct model *m, int guest, int at, int mirror)
{
    unlink_guest(m, guest);
    count_guest(m, guest, -1);
    m->at[guest] = at;
    m->mirror[guest] = mirror;
    link_guest(m, guest);
    count_guest(m, guest, 1);
    if (++m->changes >= MODEL_RECOUNT_EVERY)
        model_recount(m);
}

void model_node_changed(struct model *m, int n)
{
    bool up = !m->nodes[n].offline && !m->nodes[n].outside;
    for (int g = m->first[n]; g >= 0 && up != m->up[n]; g = m->next[g])
        group_counts_add(&m->members, m, g, n, up ? 1 : -1);
    m->up[n] = up;
}

void model_set_offline(struct model *m, int n, bool offline)
{
    m->nodes[n].offline = offline;
    model_node_changed(m, n);
}

/* ---- questions ---- */

void model_hold_row(struct model *m, int n, const double *row, double sign)
{
    if (n >= 0)
        add_row(m->held[n], row, sign);
}

double model_load(const struct model *m, int n, enum model_resource resource)
{
    return m->sum[n][SUM_LOAD_CPU + (int)resource] - m->standing[n][resource];
}

double model_memory_free(const struct model *m, int n)
{
    return m->nodes[n].free_at_load - m->sum[n][SUM_MEMORY] - m->held[n][SUM_MEMORY];
}

/* Where some wait for the disks, they do more than they get done. */
double model_disk_work(const struct model_node *node, double bytes_per_s)
{
    return bytes_per_s * (1 + node->pressure[RESOURCE_DISK] + node->stalled[RESOURCE_DISK]);
}

double model_disk_free(const struct model *m, int n)
{
    return m->nodes[n].disk_at_load - m->sum[n][SUM_DISK] - m->held[n][SUM_DISK];
}

static enum model_mode mode_of(const struct model *m, int guest, enum model_mode cluster)
{
    enum model_mode own = m->guests[guest].mode;
    enum model_mode there = m->at[guest] >= 0 ? m->nodes[m->at[guest]].mode : MODE_UNSAID;
    enum model_mode mode = own > there ? own : there;
    return mode == MODE_UNSAID ? cluster : mode;
}

int model_hold(struct model *m, enum model_mode cluster, enum model_mode from)
{
    int held = 0;
    for (int n = 0; n < m->node_count; n++)
        m->nodes[n].held = m->nodes[n].mode >= from;
    for (int g = 0; g < m->guest_count; g++) {
        m->guests[g].held = mode_of(m, g, cluster) >= from;
        held += m->guests[g].held;
    }
    return held;
}

void model_shun_unseen(struct model *m)
{
    for (int g = 0; m->family == MODEL_DROVER && g < m->guest_count; g++)
        if (m->at[g] >= 0 && !m->guests[g].measured && m->guests[g].movable && m->guests[g].state == GUEST_RUNNING)
            m->nodes[m->at[g]].unseen = true;
}

const char *model_node_name(const struct model *m, int node)
{
    return node >= 0 ? m->node_names.text[m->nodes[node].name] : "nowhere";
}

const char *model_guest_name(const struct model *m, int guest)
{
    return m->guest_names.text[m->guests[guest].name];
}

void model_guest_changed(struct model *m, int guest)
{
    memset(m->use[guest], 0, sizeof m->use[guest]);
    if (m->copy)
        memset(m->copy[guest], 0, sizeof m->copy[guest]);
    fill_use(m, guest, m->use[guest], m->copy ? m->copy[guest] : NULL);
}
