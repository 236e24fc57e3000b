/* The bits of RFLAGS, CR0, CR4 and EFER. Source: Intel SDM vol. 1 ch. 3.4.3, vol. 3 ch. 2.5; AMD APM vol. 2 ch. 3. */
#ifndef HV_DBT_CPU_BITS_H
#define HV_DBT_CPU_BITS_H

#include <stdint.h>

enum cpu_flag {
    CPU_CF = 1,
    CPU_PF = 4,
    CPU_AF = 0x10,
    CPU_ZF = 0x40,
    CPU_SF = 0x80,
    CPU_TF = 0x100,
    CPU_IF = 0x200,
    CPU_DF = 0x400,
    CPU_OF = 0x800,
    CPU_IOPL = 0x3000,
    CPU_NT = 0x4000,
    CPU_RF = 0x10000,
    CPU_VM = 0x20000,
    CPU_AC = 0x40000,
    CPU_VIF = 0x80000,
    CPU_VIP = 0x100000,
    CPU_ID = 0x200000,
    CPU_ARITHMETIC = CPU_CF | CPU_PF | CPU_AF | CPU_ZF | CPU_SF | CPU_OF,
};

enum cpu_cr0 {
    CPU_CR0_PE = 1,
    CPU_CR0_MP = 2,
    CPU_CR0_EM = 4,
    CPU_CR0_TS = 8,
    CPU_CR0_ET = 0x10,
    CPU_CR0_NE = 0x20,
    CPU_CR0_WP = 0x10000,
    CPU_CR0_AM = 0x40000,
    CPU_CR0_NW = 0x20000000,
    CPU_CR0_CD = 0x40000000,
};
static const uint64_t cpu_cr0_pg = 0x80000000u;

enum cpu_cr4 {
    CPU_CR4_VME = 1,
    CPU_CR4_PVI = 2,
    CPU_CR4_TSD = 4,
    CPU_CR4_DE = 8,
    CPU_CR4_PSE = 0x10,
    CPU_CR4_PAE = 0x20,
    CPU_CR4_MCE = 0x40,
    CPU_CR4_PGE = 0x80,
    CPU_CR4_PCE = 0x100,
    CPU_CR4_OSFXSR = 0x200,
    CPU_CR4_OSXMMEXCPT = 0x400,
    CPU_CR4_UMIP = 0x800,
    CPU_CR4_FSGSBASE = 0x10000,
    CPU_CR4_PCIDE = 0x20000,
    CPU_CR4_OSXSAVE = 0x40000,
    CPU_CR4_SMEP = 0x100000,
    CPU_CR4_SMAP = 0x200000,
};

enum cpu_efer {
    CPU_EFER_SCE = 1,
    CPU_EFER_LME = 0x100,
    CPU_EFER_LMA = 0x400,
    CPU_EFER_NX = 0x800,
    CPU_EFER_AUTOIBRS = 0x200000
};

#endif
