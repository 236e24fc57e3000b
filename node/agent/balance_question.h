/* A question that drover-balancer answers, as a process of its own without any rights: whether a policy is one, what
 * fits into the cluster, which nodes could sleep, the cluster as the balancer reads it (balancer/command_answer.c has
 * the questions).
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_BALANCE_QUESTION_H
#define NODE_AGENT_BALANCE_QUESTION_H

struct err;
struct json_t;
struct loop;
struct measured;
struct mirror;

enum { BALANCE_ANSWER_MAX = 64 << 20, BALANCE_ANSWER_S = 30, BALANCE_QUESTIONS_MAX = 4 };

struct balance_place {
    struct loop *loop;
    const char *program;
    const struct measured *measured;
    unsigned under_way; /* ours */
};

/* done() once, later, unless this fails: the answer (lent), or NULL and why there is none. question is taken over.
 * Errors: -errno with a text; -EAGAIN: BALANCE_QUESTIONS_MAX are under way. */
int balance_ask(struct balance_place *place, struct json_t *question,
                void (*done)(void *context, const struct json_t *answer, const struct err *err), void *context,
                struct err *err);

/* Objects of the mirror as a question takes them (balancer/snapshot.h has the form), what was measured before, and the
 * time: {"verb", "objects", "clock", "wall"}. */
struct json_t *balance_question(const struct mirror *mirror, const struct measured *measured, const char *verb);

#endif
