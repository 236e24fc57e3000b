/* Processes of this node that a drill kills or stalls: all in a control group, and the agent with its children.
 *
 * Threads: one. */
#ifndef NODE_AGENT_FAULT_KILL_H
#define NODE_AGENT_FAULT_KILL_H

struct fault_config;

/* The signal to all that are in the group of that name below the node's; how many there were. */
unsigned fault_kill_group(const struct fault_config *config, const char *group, int signal);
/* The agent, or everything of the node, by SIGKILL, until nothing is left; as power does it, nobody is asked. */
void fault_kill_agent(const struct fault_config *config);
void fault_kill_node(const struct fault_config *config);

#endif
