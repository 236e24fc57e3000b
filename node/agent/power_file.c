#include "node/agent/power_file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/base/err.h"

static int wrong(struct err *err, const char *path, const char *node, const char *what)
{
    return err_set(err, EINVAL, "%s: %s: %s", path, node, what);
}

static int check_redfish(const json_t *way, const char *path, const char *node, struct err *err)
{
    static const char *const keys[] = {"redfish", "user", "password_file", "ca"};
    const char *key;
    const json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)way, key, value) {
        unsigned i = 0;
        while (i < sizeof keys / sizeof *keys && strcmp(keys[i], key))
            i++;
        if (i == sizeof keys / sizeof *keys)
            return err_set(err, EINVAL, "%s: %s: '%s' is unknown: redfish, user, password_file, ca", path, node, key);
        if (!json_string_length(value))
            return err_set(err, EINVAL, "%s: %s: '%s' must be a text", path, node, key);
        if (i >= 2 && *json_string_value(value) != '/')
            return err_set(err, EINVAL, "%s: %s: '%s' must be an absolute path", path, node, key);
    }
    if (strncmp(json_string_value(json_object_get(way, "redfish")), "https://", 8))
        return wrong(err, path, node, "'redfish' must begin with https://");
    if (!json_object_get(way, "user") || !json_object_get(way, "password_file"))
        return wrong(err, path, node, "'user' and 'password_file' are missing");
    return 0;
}

static int check_program(const json_t *way, const char *path, const char *node, struct err *err)
{
    const json_t *words = json_object_get(way, "program"), *word;
    size_t i;
    const json_t *password = json_object_get(way, "password_file");
    if (json_object_size(way) != 1 + (password != NULL))
        return wrong(err, path, node, "beside 'program' only 'password_file' can stand");
    if (password && (!json_string_length(password) || *json_string_value(password) != '/'))
        return wrong(err, path, node, "'password_file' must be an absolute path");
    if (!json_array_size(words))
        return wrong(err, path, node, "'program' must be a list of words");
    json_array_foreach (words, i, word) {
        if (!json_is_string(word))
            return wrong(err, path, node, "'program' must be a list of words");
    }
    if (*json_string_value(json_array_get(words, 0)) != '/')
        return wrong(err, path, node, "'program' must begin with an absolute path");
    return 0;
}

static int check(const json_t *ways, const char *path, struct err *err)
{
    const char *node;
    json_t *way;
    if (!json_is_object(ways))
        return err_set(err, EINVAL, "%s: must be {NODE: {...}, ...}", path);
    json_object_foreach ((json_t *)(uintptr_t)ways, node, way) {
        bool redfish = json_object_get(way, "redfish") != NULL;
        if (!json_is_object(way) || redfish == !!json_object_get(way, "program"))
            return wrong(err, path, node, "either 'redfish' or 'program' must be there");
        int rc = redfish ? check_redfish(way, path, node, err) : check_program(way, path, node, err);
        if (rc)
            return rc;
    }
    return 0;
}

/* Programs of it run with the agent's rights. */
static int open_file(const char *path, struct err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, errno, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) || (st.st_uid != 0 && st.st_uid != geteuid()) || st.st_mode & (S_IWGRP | S_IWOTH)) {
        close(fd);
        return err_set(err, EACCES, "%s: others than root can write it: chown root, chmod 600", path);
    }
    return fd;
}

json_t *power_file_load(const char *path, struct err *err)
{
    json_error_t error;
    int fd = open_file(path, err);
    if (fd < 0)
        return NULL;
    json_t *ways = json_loadfd(fd, JSON_REJECT_DUPLICATES, &error);
    close(fd);
    if (!ways) {
        err_set(err, EINVAL, "%s: line %d: %s", path, error.line, error.text);
        return NULL;
    }
    if (check(ways, path, err)) {
        json_decref(ways);
        return NULL;
    }
    return ways;
}

const char *power_file_kind(const json_t *way)
{
    return json_object_get(way, "redfish") ? "redfish" : "program";
}
