/* Which processor models this node can show a guest, for placement: what a running guest was shown must be there where
 * it moves to.
 *
 *     ["baseline-v2", "baseline-v3", "host-AuthenticAMD-25-33"]
 *
 * "baseline-vN": the processor has all of that level of the x86-64 psABI. "host-...": vendor, family and model; a guest
 * that sees the host's processor may move between nodes that say the same.
 *
 * Thread: any. Source: the x86-64 psABI, "Micro-architecture levels"; /proc/cpuinfo of Linux. */
#ifndef NODE_AGENT_PROCESSOR_H
#define NODE_AGENT_PROCESSOR_H

struct json_t;

enum { PROCESSOR_TEXT_MAX = 8192 /* of /proc/cpuinfo: the first processor's lines */ };

/* A new reference; an empty list where the text says nothing known. */
struct json_t *processor_models(const char *cpuinfo);
/* Of this machine; read once. */
struct json_t *processor_models_here(void);

#endif
