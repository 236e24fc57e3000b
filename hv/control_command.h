/* `drover-guest ctl unix:PATH COMMAND ...`: the other end of the control socket, for people and scripts.
 * Thread: the main one. */
#ifndef HV_CONTROL_COMMAND_H
#define HV_CONTROL_COMMAND_H

/* Returns the exit code: 0 done, 1 the guest refused or is not there, 2 a bad command line. */
int control_command(int argc, char **argv);

#endif
