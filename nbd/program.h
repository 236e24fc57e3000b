/* What the programs of this folder are made of beyond it. Folders above (replication) add drivers and commands of their
 * own, and nbd may not know them: the list is a source of its own, which CMake links into each program
 * (docs/decisions/0010-volumes.md). Thread: main, before any other is started. */
#ifndef NBD_PROGRAM_H
#define NBD_PROGRAM_H

struct img_command;

/* Every driver that the program's stacks may name. */
void program_drivers_register(void);

/* drover-img's commands, NULL behind the last. */
extern const struct img_command *const program_img_commands[];

#endif
