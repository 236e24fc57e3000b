/* A ROM of 64 KiB that brings QEMU's processor into the state that hv/boot gives our vCPU (PVH, or with LONG the 64-bit
 * entry), and goes to ENTRY. */
.code16
.org 0
        cli
        lgdtl %cs:gdt_register
        mov %cr0, %eax
        or $1, %al
        mov %eax, %cr0
        ljmpl $8, $(0xf0000 + protected)
.align 8
gdt:    .quad 0, 0x00cf9b000000ffff, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
gdt_register:
        .word 39
        .long 0xf0000 + gdt
.code32
protected:
        mov $0x18, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
#ifdef LONG
        mov $0x20, %eax
        mov %eax, %cr4
        mov $0x9000, %eax
        mov %eax, %cr3
        mov $0xc0000080, %ecx
        rdmsr
        or $0x100, %eax
        wrmsr
        mov $0x80000033, %eax
        mov %eax, %cr0
        ljmpl $0x20, $(0xf0000 + long_mode)
.code64
long_mode:
        mov $0x6000, %esp
        lgdt 0xf0000 + guest_gdt_register
        mov $0x7000, %esi
        mov $ENTRY, %eax
        push $0x10
        push %rax
        lretq
guest_gdt_register:
        .word 39
        .quad 0x500
#else
        mov $0x7000, %ebx
        ljmp $0x10, $ENTRY
#endif
.org 0xfff0
.code16
        ljmp $0xf000, $0
.org 0x10000
