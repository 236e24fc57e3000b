#include "node/agent/fault_cut.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "node/agent/fault_config.h"
#include "node/agent/ruleset.h"
#include "node/base/err.h"

enum { HOST_MAX = 256, PORT_MAX = 8, LIST_MAX = 2048 };

/* Addresses of both families, as nft lists them: "10.0.0.1, 10.0.0.2". */
struct addresses {
    char four[LIST_MAX], six[LIST_MAX];
};

static void append(char *list, const char *text)
{
    size_t used = strlen(list);
    if (used + strlen(text) + 3 < LIST_MAX)
        snprintf(list + used, LIST_MAX - used, "%s%s", used ? ", " : "", text);
}

static void add_address(struct addresses *all, const char *text)
{
    struct in6_addr six;
    struct in_addr four;
    if (inet_pton(AF_INET, text, &four) == 1)
        append(all->four, text);
    else if (inet_pton(AF_INET6, text, &six) == 1)
        append(all->six, text);
}

/* "https://10.0.0.1:2379" or "https://[fd00::1]:2379". */
static void split(const char *uri, char host[HOST_MAX], char port[PORT_MAX])
{
    const char *at = strstr(uri, "://");
    at = at ? at + 3 : uri;
    bool is_six = *at == '[';
    at += is_six;
    size_t n = strcspn(at, is_six ? "]" : ":/");
    snprintf(host, HOST_MAX, "%.*s", (int)n, at);
    at += n + (is_six && at[n] == ']');
    snprintf(port, PORT_MAX, "%.*s", *at == ':' ? (int)strspn(at + 1, "0123456789") : 0, *at == ':' ? at + 1 : "");
}

static int add_store(struct addresses *all, const char *uri, char port[PORT_MAX], struct err *err)
{
    char host[HOST_MAX], text[NI_MAXHOST];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    split(uri, host, port);
    int rc = getaddrinfo(host, NULL, &hints, &found);
    if (rc)
        return err_set(err, ENOENT, "the store's %s is not known here, so the way to it cannot be cut: %s", host,
                       gai_strerror(rc));
    for (const struct addrinfo *a = found; a; a = a->ai_next)
        if (!getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST))
            add_address(all, text);
    freeaddrinfo(found);
    return 0;
}

/* One line for each family: what is dropped. */
static void add_drops(struct ruleset *rules, const struct addresses *all, const char *side, const char *port)
{
    const char *at = *port ? " tcp " : "", *way = strcmp(side, "saddr") ? "dport " : "sport ";
    if (*all->four)
        ruleset_add(rules, "meta nfproto @on ip %s { %s }%s%s%s drop\n", side, all->four, at, *port ? way : "", port);
    if (*all->six)
        ruleset_add(rules, "meta nfproto @on ip6 %s { %s }%s%s%s drop\n", side, all->six, at, *port ? way : "", port);
}

static void add_chain(struct ruleset *rules, const char *hook, const char *loop, const char *own)
{
    ruleset_add(rules, "chain %s {\ntype filter hook %s priority -300; policy accept;\n", hook, hook);
    if (loop)
        ruleset_add(rules, "%s \"lo\" accept\nudp %s %d accept\n", loop, own, FAULT_PORT);
}

int fault_cut_rules(const struct fault_config *c, struct ruleset *rules, struct err *err)
{
    struct addresses peers = {"", ""}, store = {"", ""};
    char port[PORT_MAX] = "";
    size_t i;
    json_t *text;
    int rc = 0;
    json_array_foreach (json_object_get(c->json, "peers"), i, text)
        if (c->cut != FAULT_CUT_STORE)
            add_address(&peers, json_string_value(text));
    json_array_foreach (json_object_get(c->json, "store"), i, text)
        if (!rc)
            rc = add_store(&store, json_string_value(text), port, err);
    if (rc)
        return rc;
    ruleset_begin(rules, "inet", FAULT_TABLE);
    ruleset_add(rules,
                "set on {\ntype nf_proto; flags timeout; elements = { ipv4 timeout %llums, ipv6 timeout %llums };\n}\n",
                (unsigned long long)c->for_ms, (unsigned long long)c->for_ms);
    static const char *const hooks[] = {"input", "output", "forward"};
    for (unsigned h = 0; h < 3; h++) {
        add_chain(rules, hooks[h], h == 2 ? NULL : h ? "oifname" : "iifname", h ? "sport" : "dport");
        if (h == 2 && c->cut == FAULT_CUT_ALL)
            ruleset_add(rules, "meta nfproto @on drop\n");
        for (unsigned side = 0; side < 2; side++) {
            if (h < 2 && h != side)
                continue; /* who comes in is the source, who is spoken to the destination */
            add_drops(rules, &peers, side ? "daddr" : "saddr", "");
            add_drops(rules, &store, side ? "daddr" : "saddr", port);
        }
        ruleset_add(rules, "}\n");
    }
    return 0;
}

int fault_cut_begin(const struct fault_config *c, struct err *err)
{
    static struct ruleset rules;
    if (c->cut == FAULT_CUT_NONE)
        return 0;
    int rc = fault_cut_rules(c, &rules, err);
    if (!rc)
        rc = fault_cut_end(err); /* one that is over looks as if it were in force */
    return rc ? rc : ruleset_ensure(&rules, err);
}

int fault_cut_end(struct err *err)
{
    return ruleset_remove("inet", FAULT_TABLE, err);
}
