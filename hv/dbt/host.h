/* What the host's processor has of that which guest instructions are executed with. Threads: any. */
#ifndef HV_DBT_HOST_H
#define HV_DBT_HOST_H

#include <stdbool.h>

enum host_feature { HOST_BMI1, HOST_BMI2, HOST_POPCNT, HOST_LZCNT, HOST_CRC32, HOST_RDRAND, HOST_RDSEED };

bool host_has(enum host_feature feature);

#endif
