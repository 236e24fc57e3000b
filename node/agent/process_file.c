#include "node/agent/process_file.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/base/err.h"

enum { LINE_MAX_BYTES = 2560 }; /* those of the log have 2048 */

static int make(const char *name, struct err *err)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    return fd < 0 ? err_set(err, errno, "no memory for its %s: %s", name, strerror(errno)) : fd;
}

int process_file_output(struct err *err)
{
    return make("output", err);
}

int process_file_json(const json_t *json, struct err *err)
{
    char *text = json_dumps(json, JSON_COMPACT);
    int fd = text ? make("configuration", err) : err_set(err, ENOMEM, "out of memory");
    if (fd >= 0 && write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        close(fd);
        fd = err_set(err, ENOSPC, "no memory for its configuration");
    }
    free(text);
    return fd;
}

const char *process_file_last_line(int fd, char *text, size_t room)
{
    struct stat st;
    off_t end = fd < 0 || fstat(fd, &st) ? 0 : st.st_size;
    off_t from = end > (off_t)room - 1 ? end - (off_t)room + 1 : 0;
    ssize_t n = end > 0 ? pread(fd, text, room - 1, from) : 0;
    while (n > 0 && text[n - 1] == '\n')
        n--;
    text[n > 0 ? n : 0] = 0;
    const char *newline = strrchr(text, '\n');
    if (newline)
        memmove(text, newline + 1, strlen(newline + 1) + 1);
    return text;
}

const char *process_file_last_words(int fd, char *text, size_t room)
{
    char line[LINE_MAX_BYTES];
    json_t *said = json_loads(process_file_last_line(fd, line, sizeof line), JSON_REJECT_DUPLICATES, NULL);
    const char *words = json_string_value(json_object_get(said, "text"));
    snprintf(text, room, "%s", words ? words : line);
    json_decref(said);
    return text;
}
