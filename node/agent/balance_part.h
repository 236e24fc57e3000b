/* A part of a proposed plan: as few of its first moves as bring so much of its gain. Any such part can be carried out,
 * because moves of a wave may run in any order, and waves after those before them.
 *
 * Pure. Thread: any. */
#ifndef NODE_AGENT_BALANCE_PART_H
#define NODE_AGENT_BALANCE_PART_H

struct json_t;

/* value: the plan's, whose moves beyond that go; "part" in its spec says so, and its score, summary, seconds and bytes
 * are those of the part. percent: 1 to 100. How many moves stay. */
unsigned balance_part(struct json_t *value, unsigned percent);

#endif
