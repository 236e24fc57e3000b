#include "node/agent/processor.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char v2[] = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3";
static const char v3[] = "abm avx avx2 bmi1 bmi2 f16c fma movbe xsave";

/* The value of the first "key : value" line; its length, 0: there is none. */
static size_t value_of(const char *text, const char *key, const char **value)
{
    size_t len = strlen(key);
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, key, len) || !strchr("\t :", line[len]))
            continue;
        *value = line + strcspn(line, ":\n");
        if (**value != ':')
            return 0;
        *value += 1 + strspn(*value + 1, " \t");
        return strcspn(*value, "\n");
    }
    return 0;
}

static bool has_word(const char *words, size_t words_len, const char *word, size_t len)
{
    for (size_t at = 0, n; at < words_len; at += n + 1) {
        n = strcspn(words + at, " \n");
        if (n == len && !strncmp(words + at, word, len))
            return true;
    }
    return false;
}

static bool has_all(const char *flags, size_t len, const char *wanted)
{
    for (size_t n; *wanted; wanted += n + (wanted[n] == ' ')) {
        n = strcspn(wanted, " ");
        if (!has_word(flags, len, wanted, n))
            return false;
    }
    return true;
}

json_t *processor_models(const char *cpuinfo)
{
    json_t *models = json_array();
    const char *flags = "", *vendor = "", *family = "", *model = "";
    size_t flags_len = value_of(cpuinfo, "flags", &flags), vendor_len = value_of(cpuinfo, "vendor_id", &vendor);
    size_t family_len = value_of(cpuinfo, "cpu family", &family), model_len = value_of(cpuinfo, "model", &model);
    bool is_v2 = flags_len && has_all(flags, flags_len, v2);
    if (is_v2)
        json_array_append_new(models, json_string("baseline-v2"));
    if (is_v2 && has_all(flags, flags_len, v3))
        json_array_append_new(models, json_string("baseline-v3"));
    if (vendor_len && family_len && model_len)
        json_array_append_new(models, json_sprintf("host-%.*s-%.*s-%.*s", (int)vendor_len, vendor, (int)family_len,
                                                   family, (int)model_len, model));
    return models;
}

json_t *processor_models_here(void)
{
    static char text[PROCESSOR_TEXT_MAX];
    if (!text[0]) {
        int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        text[n > 0 ? n : 0] = 0;
        if (fd >= 0)
            close(fd);
    }
    return processor_models(text);
}
