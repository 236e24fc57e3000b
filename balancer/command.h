/* The commands of drover-balancer: each reads its own arguments and returns the program's exit status. */
#ifndef BALANCER_COMMAND_H
#define BALANCER_COMMAND_H

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/cluster_json.h"
#include "balancer/ganeti_text.h"
#include "balancer/policy.h"

struct capacity_losses;

enum { EXIT_OK = 0, EXIT_WRONG = 1, EXIT_USAGE = 2 };

int command_plan(int argc, char **argv);
int command_capacity(int argc, char **argv);
int command_consolidate(int argc, char **argv);
int command_simulate(int argc, char **argv);
int command_answer(int argc, char **argv);

/* ---- what they share: arguments, files in, out ---- */

/* A cluster from either format, told apart by the name's end: .data is Ganeti's, all else JSON. */
struct command_cluster {
    struct model *model;
    struct ganeti_text ganeti; /* of a .data file: owns model */
    char *text;                /* of the file */
    size_t len;
    double link_learned; /* bytes/s that past migrations reached: every policy's link; 0: none known */
    bool is_ganeti;
};

struct command_files {
    const char *cluster, *utilization, *policy, *group, *score;
    bool strict; /* an entry of JSON that cannot be used is an error; Ganeti's is in any case */
};

/* The arguments of every command, --cluster, --policy, --group and --strict: a child of the command's own parser, which
 * hands it its struct command_files at ARGP_KEY_INIT. */
extern const struct argp_child command_files_argp[2];
/* A whole number of 0 to max; anything else ends the program with a sentence. */
uint64_t command_number(const char *text, struct argp_state *state, const char *option, uint64_t max);

/* "4:16G" or "4:16G:100G" as a guest that could be placed; -EINVAL with a sentence. */
int command_parse_shape(const char *text, struct model_guest *shape, struct err *err);

/* "exact", "likely", "worst" and "guest" of what may be lost, into an answer. -ENOMEM with a sentence. */
int command_add_losses(json_t *answer, const struct model *model, const struct capacity_losses *losses,
                       struct err *err);

/* Loads what files says, acts, and says what is wrong: the program's exit status. */
int command_run(const struct command_files *files,
                int (*act)(void *context, const struct command_cluster *cluster, const struct policy *policy,
                           struct err *err),
                void *context);

/* 0, or -errno with a sentence. *policy: by the score that is wanted, then the file. Warnings go to stderr. */
int command_load(struct command_cluster *cluster, struct policy *policy, const struct command_files *files,
                 struct err *err);
/* Another policy beside it, of a file, for the same cluster. */
int command_load_policy(struct policy *policy, const char *path, const struct command_cluster *cluster,
                        struct err *err);
void command_unload(struct command_cluster *cluster);

/* The bytes of a file of at most max bytes, with a 0 behind them; to free(). */
int command_read_file(const char *path, size_t max, char **text, size_t *len, struct err *err);
int command_write_file(const char *path, const char *text, size_t len, struct err *err);

#endif
