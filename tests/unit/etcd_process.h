/* Real etcd servers on loopback, for tests: started, killed and started again on the same data. They die with the test.
 */
#ifndef TESTS_UNIT_ETCD_PROCESS_H
#define TESTS_UNIT_ETCD_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { ETCD_MEMBERS_MAX = 3 };

struct etcd_process {
    pid_t pid; /* 0: not running */
    int client_port, peer_port;
};

struct etcd_cluster {
    char path[512]; /* data, logs and certificates */
    bool tls;
    int count;
    struct etcd_process members[ETCD_MEMBERS_MAX];
};

/* Starts them; with tls also makes path/ca.pem, client.pem and client.key, and asks clients for a certificate. */
void etcd_cluster_start(struct etcd_cluster *cluster, const char *path, int count, bool tls);
void etcd_cluster_stop(struct etcd_cluster *cluster);
void etcd_member_start(struct etcd_cluster *cluster, int member);
void etcd_member_kill(struct etcd_cluster *cluster, int member);
/* Fails if one of those started last has ended and was not killed. */
void etcd_expect_running(void);
/* "etcd:https://127.0.0.1:1,127.0.0.1:2" */
void etcd_cluster_uri(const struct etcd_cluster *cluster, char *uri, size_t size);
/* A port of 127.0.0.1 that nobody listens on just now. */
int etcd_free_port(void);

#endif
