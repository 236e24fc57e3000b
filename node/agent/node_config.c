#include "node/agent/node_config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/schema.h"
#include "node/base/err.h"
#include "node/base/whole_file.h"

enum { FILE_MAX = 8192 };

static const struct field {
    const char *name;
    size_t offset, room;
} fields[] = {
#define FIELD(name)                                                                                                    \
    {                                                                                                                  \
#name, offsetof(struct node_config, name), sizeof(((struct node_config *)0)->name)                             \
    }
    FIELD(id), FIELD(node), FIELD(address), FIELD(cluster), FIELD(listen), FIELD(store),
#undef FIELD
};
enum { FIELD_COUNT = sizeof fields / sizeof *fields };

static char *text_at(const struct node_config *c, unsigned i)
{
    return (char *)(uintptr_t)c + fields[i].offset;
}

int node_config_check(const struct node_config *c, struct err *err)
{
    struct in6_addr address;
    const char *wrong = schema_name_error(c->node);
    if (wrong)
        return err_set(err, EINVAL, "node '%s': %s", c->node, wrong);
    wrong = schema_name_error(c->cluster);
    if (wrong)
        return err_set(err, EINVAL, "cluster '%s': %s", c->cluster, wrong);
    if (inet_pton(AF_INET, c->address, &address) != 1 && inet_pton(AF_INET6, c->address, &address) != 1)
        return err_set(err, EINVAL,
                       "address '%s' is no IP address: give the one other nodes reach this node at, such as 10.0.0.1",
                       c->address);
    if (*c->listen && strncmp(c->listen, "tcp:", 4))
        return err_set(err, EINVAL, "listen '%s': write tcp:ADDRESS:PORT, such as tcp:10.0.0.1:7480", c->listen);
    return 0;
}

int node_config_read(const char *state, struct node_config *c, struct err *err)
{
    char path[PATH_MAX];
    json_error_t e;
    *c = (struct node_config){0};
    snprintf(path, sizeof path, "%s/node.json", state);
    if (access(path, F_OK))
        return err_set(err, ENOENT, "this node is in no cluster yet (%s is not there): `drover cluster init` or `join`",
                       path);
    json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    if (!json_is_object(json)) {
        json_decref(json);
        return err_set(err, EINVAL, "%s cannot be read: %s (line %d)", path, e.text, e.line);
    }
    int rc = 0;
    for (unsigned i = 0; !rc && i < FIELD_COUNT; i++) {
        const char *text = json_string_value(json_object_get(json, fields[i].name));
        if (!text || strlen(text) >= fields[i].room)
            rc = err_set(err, EINVAL, "%s: '%s' is missing or too long", path, fields[i].name);
        else
            snprintf(text_at(c, i), fields[i].room, "%s", text);
    }
    json_decref(json);
    return rc ? rc : node_config_check(c, err);
}

int node_config_prepare(const char *state, struct err *err)
{
    char path[PATH_MAX];
    if (mkdir(state, 0700) && errno != EEXIST)
        return err_set(err, errno, "the folder %s cannot be made: %s", state, strerror(errno));
    snprintf(path, sizeof path, "%s/node.json", state);
    if (!access(path, F_OK))
        return err_set(err, EEXIST, "this node belongs to a cluster already, as %s says", path);
    return 0;
}

int node_config_write(const char *state, const struct node_config *c, struct err *err)
{
    char path[PATH_MAX];
    json_t *json = json_object();
    for (unsigned i = 0; i < FIELD_COUNT; i++)
        json_object_set_new(json, fields[i].name, json_string(text_at(c, i)));
    char *text = json_dumps(json, JSON_INDENT(2));
    json_decref(json);
    snprintf(path, sizeof path, "%s/node.json", state);
    int rc = text ? whole_file_write(path, text, strlen(text), 0600) : -ENOMEM;
    free(text);
    return rc ? err_set(err, -rc, "%s cannot be written: %s", path, strerror(-rc)) : 0;
}
