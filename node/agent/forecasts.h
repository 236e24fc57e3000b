/* Forecasts of migrations for who asks by `?dry_run=true`: the guest's process is asked where it runs. Another node is
 * asked by its API, with this node's certificate; it answers by itself, whatever it knows, and asks nobody.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_FORECASTS_H
#define NODE_AGENT_FORECASTS_H

struct api_call;
struct cluster;
struct err;
struct forecasts;
struct guests;
struct json_t;
struct loop;
struct migration_goals;
struct object;

/* tls: the folder of the node's certificate, or NULL: other nodes cannot be asked. */
struct forecasts *forecasts_new(struct loop *loop, struct cluster *cluster, const char *tls, struct err *err);
/* The guests of this node, once they are there. */
void forecasts_attach(struct forecasts *forecasts, struct guests *guests);
/* Answers the call with migration (taken over), whose state gets what is predicted, or the reason why nothing is. */
void forecasts_answer(struct forecasts *forecasts, struct api_call *call, const struct object *guest,
                      struct json_t *migration, const struct migration_goals *goals);
/* No call is under way. Frees it. */
void forecasts_close(struct forecasts *forecasts, void (*closed)(void *context), void *context);

#endif
