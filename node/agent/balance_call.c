#include "node/agent/balance_call.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/balance_question.h"
#include "node/agent/cluster.h"
#include "node/agent/member.h"
#include "node/agent/mirror.h"
#include "node/base/err.h"

struct balance_call *balance_call_new(struct balance_routes *r, struct api_call *call)
{
    struct balance_call *w = calloc(1, sizeof *w);
    if (!w)
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
    else
        *w = (struct balance_call){.routes = r, .call = call};
    return w;
}

void balance_call_free(struct balance_call *w)
{
    json_decref(w->value);
    free(w);
}

json_t *balance_call_question(const struct balance_routes *r, const char *verb)
{
    return balance_question(cluster_mirror(r->cluster), r->place->measured, verb);
}

static void answered(void *context, const json_t *answer, const struct err *err)
{
    struct balance_call *w = context;
    const char *wrong = member_text(answer, "error"), *field = member_text(answer, "field");
    if (!answer)
        api_error_err(w->call, "no-answer", err);
    else if (*wrong)
        api_error(w->call, 422, *field ? "no-policy" : "no-answer", *field ? field : NULL, "%s", wrong);
    else
        api_reply(w->call, 200, json_deep_copy(answer));
    balance_call_free(w);
}

void balance_call_ask(struct balance_routes *r, struct api_call *call, json_t *question)
{
    struct err err = {0};
    struct balance_call *w = balance_call_new(r, call);
    if (!w) {
        json_decref(question);
        return;
    }
    if (!balance_ask(r->place, question, answered, w, &err))
        return;
    api_error_err(call, "no-answer", &err);
    balance_call_free(w);
}

const struct object *balance_policy(const struct mirror *m)
{
    const struct object *o = mirror_find(m, OBJECT_POLICY, BALANCE_POLICY_ID);
    return o && o->value ? o : NULL;
}

const char *balance_mode(const struct mirror *m)
{
    const struct object *o = balance_policy(m);
    return o && *object_spec_text(o, "mode") ? object_spec_text(o, "mode") : "off";
}

const struct object *balance_plan(const struct mirror *m)
{
    const struct object *found = NULL;
    for (const struct object *p = mirror_next(m, OBJECT_PLAN, NULL); p; p = mirror_next(m, OBJECT_PLAN, p->name)) {
        const char *phase = object_spec_text(p, "phase");
        if (!strcmp(phase, "active"))
            return p;
        if (!strcmp(phase, "proposed"))
            found = p;
    }
    return found;
}
