/* A second model with the same cluster in it: names, rules and positions, nothing shared. model_copy() is model.h's. */
#ifndef BALANCER_MODEL_COPY_H
#define BALANCER_MODEL_COPY_H

#include "balancer/model.h"

/* With so many more guests of this shape, which are nowhere; all of them have one name. NULL: no memory. */
struct model *model_copy_and(const struct model *model, const struct model_guest *shape, int more);

#endif
