/* The first instructions of the payload: entered by PVH in 32-bit protected mode without paging, it goes to 64-bit mode with
 * the first 4 GiB mapped one to one by 2 MiB pages, and calls main(). Other processors come in at `trampoline`, which is
 * copied to 8000h, and go the same way.
 *
 * Source: docs/misc/pvh.pandoc of Xen; Intel SDM vol. 3, 9.8.5 (64-bit mode), 8.4 (MP initialisation). */
    .section .note.pvh, "a", @note
    .long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long start

    .text
    .code32
    .globl start
start:
    cli
    mov $boot_stack_top, %esp
    call legacy_main
    mov $pml4, %edi
    lea pdpt + 7, %eax
    mov %eax, (%edi)
    mov $4, %ecx
    xor %ebx, %ebx
1:  lea directory + 7, %eax
    mov %ebx, %edx
    shl $12, %edx
    add %edx, %eax
    mov %eax, pdpt(, %ebx, 8)
    inc %ebx
    loop 1b
    mov $2048, %ecx
    xor %ebx, %ebx
2:  mov %ebx, %eax
    shl $21, %eax
    or $0x83, %eax /* present, writable, large */
    mov %eax, directory(, %ebx, 8)
    inc %ebx
    loop 2b
    call enter_long
    ljmp $0x08, $start64

/* Paging and long mode on; still compatibility mode when it returns. */
enter_long:
    mov %cr4, %eax
    or $0x20, %eax /* PAE */
    mov %eax, %cr4
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x901, %eax /* SCE, LME, NXE */
    wrmsr
    mov %cr0, %eax
    and $0x9fffffff, %eax /* caches on */
    or $0x80010001, %eax  /* PG, WP, PE */
    mov %eax, %cr0
    lgdt gdt_pointer
    ret

    .code64
start64:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov $boot_stack_top, %rsp
    call main
3:  hlt
    jmp 3b

/* ---- other processors ---- */
    .code16
    .globl trampoline, trampoline_end
trampoline:
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl 0x8000 + (trampoline_gdt - trampoline)
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmpl $0x18, $trampoline32
trampoline_gdt:
    .word gdt_end - gdt - 1
    .long gdt
trampoline_end:

    .code32
trampoline32:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $1, %eax
    lock xadd %eax, processors
    mov %eax, %ebx /* 1, 2, ... */
    shl $14, %eax
    lea processor_stacks(%eax), %esp
    push %ebx
    call enter_long
    ljmp $0x08, $processor64
    .code64
processor64:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %ss
    mov %ebx, %edi
    mov %ebx, %eax
    shl $14, %rax
    lea processor_stacks(%rax), %rsp
    call processor_main
4:  hlt
    jmp 4b

/* ---- interrupts: a stub per vector, 16 bytes each, then one frame for C ---- */
    .globl stubs
    .balign 16
stubs:
    vector = 0
    .rept 256
    .balign 16
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21
    .else
    push $0
    .endif
    push $vector
    jmp taken
    vector = vector + 1
    .endr

taken:
    push %rax
    push %rbx
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %rbp
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, %rdi
    cld
    call handle
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rbp
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rbx
    pop %rax
    add $16, %rsp
    iretq

/* enter_user(rip, rsp): to ring 3; user code comes back by `int $0x80` with the wish to leave (handle() sets rip to
 * leave_user) or by SYSCALL (syscall_entry). Callee-saved registers are kept here. */
    .globl enter_user, leave_user, syscall_entry
enter_user:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, kernel_rsp
    push $0x33 /* ss */
    push %rsi
    push $0x202
    push $0x3b /* cs */
    push %rdi
    iretq
syscall_entry:
    mov %rcx, syscall_rcx
    mov %r11, syscall_r11
leave_user:
    mov kernel_rsp, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .data
    .balign 16
    .globl gdt, gdt_tss
gdt:
    .quad 0
    .quad 0x00af9b000000ffff /* 08: 64-bit code */
    .quad 0x00cf93000000ffff /* 10: data */
    .quad 0x00cf9b000000ffff /* 18: 32-bit code */
    .quad 0x00cffb000000ffff /* 20: user 32-bit code, for SYSRET */
    .quad 0x0000000000000000 /* 28: not present */
    .quad 0x00cff3000000ffff /* 30: user data */
    .quad 0x00affb000000ffff /* 38: user 64-bit code */
gdt_tss:
    .quad 0, 0               /* 40: TSS */
    .quad 0x00cf13000000ffff /* 50: data, not present */
    .quad 0x00cf93000000ffff, 0, 0, 0, 0, 0
    .quad 0, 0, 0, 0, 0, 0, 0, 0 /* 80 ...: TSSs of the other processors */
    .quad 0, 0, 0, 0, 0, 0, 0, 0
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt

    .globl processors, kernel_rsp, syscall_rcx, syscall_r11, pml4, pdpt, directory
    .balign 8
processors: .long 1
    .long 0
kernel_rsp: .quad 0
syscall_rcx: .quad 0
syscall_r11: .quad 0

    .bss
    .balign 4096
pml4: .skip 4096
pdpt: .skip 4096
directory: .skip 4 * 4096
    .balign 16
    .skip 16384
boot_stack_top:
processor_stacks: .skip 9 * 16384
