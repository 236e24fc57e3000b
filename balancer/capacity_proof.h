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
 * loss: they have to be tried. Of Drover's family only; nothing is said of clusters with hard groups that stay
 * together, or with more kinds of restrictions than PROOF_KINDS_MAX. Threads: any, on a model that nobody changes
 * meanwhile. */
#ifndef BALANCER_CAPACITY_PROOF_H
#define BALANCER_CAPACITY_PROOF_H

struct capacity_moving;
struct model;
struct policy;

enum { PROOF_KINDS_MAX = 64, PROOF_PER_LOOK = 8 }; /* what it costs: guests and nodes for a look of capacity.h */

/* Up to max, which are no more than are up; 0: nothing is proved, or no memory. moving: as capacity_losses_in() has it.
 */
int capacity_proof(const struct model *model, const struct policy *policy, int max,
                   const struct capacity_moving *moving, int count);

#endif
