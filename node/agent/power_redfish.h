/* A machine's management controller, asked by Redfish whether the machine has power.
 * Source: DMTF DSP0266 (Redfish specification) 13.3 (basic authentication); DSP0268, ComputerSystem: PowerState.
 * Thread: any; blocks, up to POWER_REDFISH_SECONDS. */
#ifndef NODE_AGENT_POWER_REDFISH_H
#define NODE_AGENT_POWER_REDFISH_H

#include <stdbool.h>

struct err;
struct json_t;

enum { POWER_REDFISH_SECONDS = 4 };

/* way: of power_file.h; ca: PEM, NULL: the authorities of this machine. 0: *off is whether it is off altogether
 * ("PoweringOff" is not). Errors: -errno with a text that names the controller and never the password. */
int power_redfish_ask(const struct json_t *way, const char *ca, const char *password, bool *off, struct err *err);

#endif
