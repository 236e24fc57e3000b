#include "node/cli/drill_simulate.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "node/cli/client.h"
#include "node/cli/command.h"
#include "node/cli/special.h"

enum { EXIT_REFUSED = 1, EXIT_NO_ANSWER = 3, WORDS_MAX = 16, WORD_BYTES = 4096 };

const struct command_option drill_simulate_options[] = {
    {"cluster", "FILE", COMMAND_TEXT, "cluster", NULL,
     "as `drover cluster export` writes it; without it, the cluster as it is"},
    {"kind", "KIND", COMMAND_TEXT, "kind", NULL,
     "node-power-loss, partition, coordinator-loss, agent-crash, store-loss, store-patchy (each node for a "
     "time of its own), calm (nothing is lost), several (at a time), or any: all in turn (any)"},
    {"node", "NODE", COMMAND_TEXT, "node", NULL, "that is hit; without it, each in turn"},
    {"schedules", "N", COMMAND_INT, "schedules", NULL, "how many (1000)"},
    {"seed", "N", COMMAND_INT, "seed", NULL, "of the first one; the same seed gives the same (1)"},
    {.name = NULL},
};

/* "--key=value" for each that was said. */
static int make_words(const json_t *asked, char words[WORDS_MAX][WORD_BYTES])
{
    const char *key;
    json_t *value;
    int count = 0;
    json_object_foreach ((json_t *)(uintptr_t)asked, key, value)
        if (json_is_string(value))
            snprintf(words[count++], WORD_BYTES, "--%s=%s", key, json_string_value(value));
        else
            snprintf(words[count++], WORD_BYTES, "--%s=%lld", key, (long long)json_integer_value(value));
    return count;
}

/* The cluster as it is becomes standard input. */
static int fetch(const struct command_common *common)
{
    int rc = 0;
    struct client *client = command_client(common);
    json_t *cluster = client ? command_get(client, "/v1/cluster/export", &rc) : NULL;
    client_free(client);
    if (!cluster)
        return client ? rc : EXIT_NO_ANSWER;
    int fd = memfd_create("cluster", 0);
    bool there = fd >= 0 && !json_dumpfd(cluster, fd, JSON_COMPACT) && !lseek(fd, 0, SEEK_SET) && dup2(fd, 0) == 0;
    json_decref(cluster);
    if (there)
        return 0;
    fprintf(stderr, "drover: the cluster cannot be handed on: %s\n", strerror(errno));
    return EXIT_REFUSED;
}

int drill_simulate_run(const struct command *command, int argc, char **argv)
{
    static char words[WORDS_MAX][WORD_BYTES];
    char *list[WORDS_MAX + 3] = {(char *)(uintptr_t) "drover drill simulate"};
    struct command_common common;
    json_t *asked;
    int count = 1;
    command_line(command, argc, argv, &common, &asked);
    int rc = json_object_get(asked, "cluster") ? 0 : fetch(&common);
    for (int i = 0, n = make_words(asked, words); i < n; i++)
        list[count++] = words[i];
    if (common.json)
        list[count++] = (char *)(uintptr_t) "--json";
    json_decref(asked);
    return rc ? rc : special_become("drover-drill", list);
}
