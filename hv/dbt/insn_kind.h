/* What an instruction does, without saying to which operands. Kinds that come in rows keep the order of the opcodes.
 * long: one list of all there is. */
#ifndef HV_DBT_INSN_KIND_H
#define HV_DBT_INSN_KIND_H

enum insn_kind {
    INSN_UD, /* undefined, or not shown in CPUID */
    /* opcode bits 5:3, or ModRM.reg of group 1 */
    INSN_ADD,
    INSN_OR,
    INSN_ADC,
    INSN_SBB,
    INSN_AND,
    INSN_SUB,
    INSN_XOR,
    INSN_CMP,
    /* ModRM.reg of group 2; form EI: by the immediate (D0, D1: 1); form E: by CL */
    INSN_ROL,
    INSN_ROR,
    INSN_RCL,
    INSN_RCR,
    INSN_SHL,
    INSN_SHR,
    INSN_SAL, /* /6: the same as SHL */
    INSN_SAR,
    /* group 3 */
    INSN_TEST,
    INSN_NOT,
    INSN_NEG,
    INSN_MUL,
    INSN_IMUL_WIDE, /* one operand */
    INSN_DIV,
    INSN_IDIV,
    INSN_INC,
    INSN_DEC,
    INSN_MOV,
    INSN_XCHG,
    INSN_LEA,
    INSN_IMUL,   /* GE, GEI */
    INSN_MOVZX8, /* source of 8 bits; `bytes` is the destination's size */
    INSN_MOVZX16,
    INSN_MOVSX8,
    INSN_MOVSX16,
    INSN_MOVSXD,
    INSN_CBW, /* CBW, CWDE, CDQE by size */
    INSN_CWD, /* CWD, CDQ, CQO */
    INSN_BSWAP,
    INSN_CMOV, /* condition: opcode & 15; so for JCC and SETCC */
    INSN_SETCC,
    INSN_XLAT,
    INSN_NOP, /* with or without an operand that is not touched: hints, ENDBR, prefetches */
    INSN_PAUSE,
    INSN_SAHF,
    INSN_LAHF,
    INSN_CMC,
    INSN_CLC,
    INSN_STC,
    INSN_CLD,
    INSN_STD,
    INSN_SALC,
    INSN_DAA,
    INSN_DAS,
    INSN_AAA,
    INSN_AAS,
    INSN_AAM,
    INSN_AAD,
    /* bits */
    INSN_BT, /* EG: the bit offset reaches beyond the operand; EI: it does not */
    INSN_BTS,
    INSN_BTR,
    INSN_BTC,
    INSN_BSF,
    INSN_BSR,
    INSN_TZCNT,
    INSN_LZCNT,
    INSN_POPCNT,
    INSN_SHLD, /* EGI by the immediate, EG by CL */
    INSN_SHRD,
    INSN_XADD,
    INSN_CMPXCHG,
    INSN_CMPXCHG8B, /* and 16B with W */
    INSN_MOVBE,     /* GE, EG */
    INSN_CRC32,     /* `bytes` is the source's size */
    INSN_ADCX,
    INSN_ADOX,
    INSN_ANDN, /* VEX: vex is a source, or the destination of BLSR, BLSMSK, BLSI */
    INSN_BEXTR,
    INSN_BLSR,
    INSN_BLSMSK,
    INSN_BLSI,
    INSN_BZHI,
    INSN_PEXT,
    INSN_PDEP,
    INSN_MULX,
    INSN_RORX,
    INSN_SARX,
    INSN_SHLX,
    INSN_SHRX,
    INSN_MOVNTI,
    INSN_RDRAND,
    INSN_RDSEED,
    /* stack */
    INSN_PUSH, /* E, I */
    INSN_POP,
    INSN_PUSH_SEG, /* reg: enum cpu_seg */
    INSN_POP_SEG,
    INSN_PUSHA,
    INSN_POPA,
    INSN_PUSHF,
    INSN_POPF,
    INSN_ENTER,
    INSN_LEAVE,
    /* strings */
    INSN_MOVS,
    INSN_CMPS,
    INSN_STOS,
    INSN_LODS,
    INSN_SCAS,
    INSN_INS,
    INSN_OUTS,
    /* control flow */
    INSN_JCC,
    INSN_JMP, /* J, E */
    INSN_CALL,
    INSN_RET, /* NONE, I */
    INSN_LOOPNE,
    INSN_LOOPE,
    INSN_LOOP,
    INSN_JCXZ,
    INSN_JMP_FAR, /* FAR, or E in memory */
    INSN_CALL_FAR,
    INSN_RET_FAR,
    INSN_IRET,
    INSN_INT3,
    INSN_INT,
    INSN_INTO,
    INSN_INT1,
    INSN_BOUND,
    INSN_SYSCALL,
    INSN_SYSRET,
    INSN_SYSENTER,
    INSN_SYSEXIT,
    /* segments, tables */
    INSN_MOV_FROM_SEG, /* reg: enum cpu_seg */
    INSN_MOV_TO_SEG,
    INSN_LOAD_FAR, /* LES, LDS, LSS, LFS, LGS; which: immediate2 */
    INSN_ARPL,
    INSN_LAR,
    INSN_LSL,
    INSN_VERR,
    INSN_VERW,
    INSN_SLDT,
    INSN_STR,
    INSN_LLDT,
    INSN_LTR,
    INSN_SGDT,
    INSN_SIDT,
    INSN_LGDT,
    INSN_LIDT,
    INSN_SMSW,
    INSN_LMSW,
    INSN_SWAPGS,
    INSN_RDFSBASE,
    INSN_RDGSBASE,
    INSN_WRFSBASE,
    INSN_WRGSBASE,
    /* system */
    INSN_IN, /* I, or NONE: port DX */
    INSN_OUT,
    INSN_CLI,
    INSN_STI,
    INSN_HLT,
    INSN_CLTS,
    INSN_CLAC,
    INSN_STAC,
    INSN_MOV_FROM_CR, /* reg: the control or debug register, rm: the general one */
    INSN_MOV_TO_CR,
    INSN_MOV_FROM_DR,
    INSN_MOV_TO_DR,
    INSN_INVLPG,
    INSN_INVPCID,
    INSN_WBINVD,  /* and INVD: nothing to do */
    INSN_CLFLUSH, /* CLFLUSHOPT, CLWB: touches its operand */
    INSN_FENCE,
    INSN_RDMSR,
    INSN_WRMSR,
    INSN_RDTSC,
    INSN_RDTSCP,
    INSN_RDPMC,
    INSN_RDPID,
    INSN_CPUID,
    INSN_VMCALL, /* and VMMCALL: KVM's hypercalls */
    INSN_FXSAVE,
    INSN_FXRSTOR,
    INSN_LDMXCSR,
    INSN_STMXCSR,
    INSN_XSAVE,
    INSN_XSAVEOPT,
    INSN_XRSTOR,
    INSN_XGETBV,
    INSN_XSETBV,
    /* simd_execute()'s */
    INSN_X87,
    INSN_SIMD, /* legacy and VEX: MMX, SSE, AVX, AES, SHA, 3DNow! */
    INSN_KIND_COUNT
};

#endif
