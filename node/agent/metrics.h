/* What Prometheus asks for, at /metrics: text format 0.0.4. Counters of this node, and of each guest that runs here.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_METRICS_H
#define NODE_AGENT_METRICS_H

struct api;
struct balance_moves;
struct cgroups;
struct cluster;
struct err;
struct failovers;
struct failsafe;
struct give_aways;
struct guests;
struct http_server;
struct metrics;
struct power_watch;
struct presence;

/* tls: the folder of this node's certificates. */
struct metrics *metrics_new(struct cluster *cluster, const struct cgroups *cgroups, const char *version,
                            const char *tls, struct api *api, struct err *err);
/* What is there later than the routes; guests may be NULL. */
void metrics_attach(struct metrics *metrics, struct guests *guests, struct http_server *http);
void metrics_attach_failover(struct metrics *metrics, const struct presence *presence,
                             const struct failovers *failovers, const struct give_aways *give_aways,
                             const struct failsafe *failsafe, /* may be NULL */
                             const struct power_watch *power);
void metrics_attach_balance(struct metrics *metrics, const struct balance_moves *moves);
void metrics_free(struct metrics *metrics);

#endif
