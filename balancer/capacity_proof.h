/* How many nodes may be lost, whichever they are, proved for all sets of nodes at once: a few passes over the nodes,
 * where trying every set would take for ever.
 *
 * Guests are placed largest memory first (loss.h). One finds no place only if each node that it may be on is blocked,
 * and those that were placed before it have only so much to block them with: what the fullest nodes have of guests at
 * least as large. A node with room f is blocked for a guest of size s when more than f - s of it has been taken, and at
 * least one guest; so it costs a part of all there is to place, of memory, of vCPUs or of disk, whichever is the
 * cheapest. If the nodes that are left cost more than everything, the guest finds a place, in any order of nodes.
 *
 * Large clusters with room to spare are proved so, small or full ones often are not, although they may well bear the
 * loss. Where nothing can be said of a few guests (one that only two nodes take, one of a hard group that stays
 * together), only sets with a node of theirs have to be tried. Of Drover's family only. Threads: any, on a model that
 * nobody changes meanwhile. */
#ifndef BALANCER_CAPACITY_PROOF_H
#define BALANCER_CAPACITY_PROOF_H

#include <stdbool.h>

struct capacity_moving;
struct model;
struct policy;

/* Kinds of guests with different needs: of those beyond nothing is said. Guests and nodes for a look of capacity.h. */
enum { PROOF_KINDS_MAX = 64, PROOF_PER_LOOK = 8 };

/* Looks at the model once, which must not be changed as long as it is asked. NULL: nothing can be said, or no memory.
 * moving: as capacity_losses_in() has it. */
struct capacity_proof *capacity_proof_new(const struct model *model, const struct policy *policy,
                                          const struct capacity_moving *moving, int count);
void capacity_proof_free(struct capacity_proof *proof); /* NULL is accepted */

/* Sets of so many nodes that are up are survived if none of them is doubtful: doubtful[nodes]. How many are. */
int capacity_proof_doubts(struct capacity_proof *proof, int lose, bool *doubtful);

#endif
