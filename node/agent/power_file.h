/* How one learns whether a node has power, without asking the node: its management controller, or a program that knows.
 * A file of each node, which root alone can write, by the names of the nodes:
 *
 *     {"n2": {"redfish": "https://10.1.0.2/redfish/v1/Systems/1", "user": "drover",
 *             "password_file": "/etc/drover/power/n2", "ca": "/etc/drover/power/ca.pem"},
 *      "n3": {"program": ["/usr/bin/ipmitool", "-I", "lanplus", "-H", "10.1.0.3", "-U", "drover",
 *                         "-f", "/dev/fd/3", "chassis", "power", "status"],
 *             "password_file": "/etc/drover/power/n3"}}
 *
 * redfish: the computer system's resource (DMTF DSP0266); ca: who signed the controller's certificate, or that itself;
 * without it the authorities of this machine. program: an absolute path with arguments, run as nobody; the last word
 * that it prints is "on" or "off", and what the password's file holds it finds at its descriptor 3. Passwords stand in
 * files of their own, never here. Threads: any. */
#ifndef NODE_AGENT_POWER_FILE_H
#define NODE_AGENT_POWER_FILE_H

struct err;
struct json_t;

#define POWER_FILE "/etc/drover/power.json"

/* The ways by name, checked; a new reference. NULL with err: -ENOENT: there is no file; -EACCES: others can write it;
 * -EINVAL: what is wrong in it, of which node. */
struct json_t *power_file_load(const char *path, struct err *err);
/* "redfish" or "program" */
const char *power_file_kind(const struct json_t *way);

#endif
