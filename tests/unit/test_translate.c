/* Payloads that run under the interpreter and under the translator: registers, flags, memory and exceptions have to be
 * the same afterwards. What a payload finds out itself it leaves in registers or in its data. */
#include "tests/unit/payload_world.h"

#include <stdlib.h>
#include <string.h>

#include "hv/memory.h"

PAYLOAD(alu, "mov rsi, 0x30000\n"
             "mov ecx, 200\n"
             "1: mov rax, [rsi + rcx*8]\n"
             "add rax, [rsi]\n"
             "adc rbx, rax\n"
             "sbb rdx, [rsi + 8]\n"
             "xor [rsi + rcx*8 + 0x1000], rbx\n"
             "sub dword ptr [rsi + rcx*4 + 0x1100], 0x1234567\n"
             "rcl r8, 3\n"
             "rcr r9d, 1\n"
             "rol word ptr [rsi + rcx + 3], 5\n"
             "shl rdx, cl\n"
             "sar r10, cl\n"
             "shld r11, rbx, 7\n"
             "imul r12, rax, 77\n"
             "mul rbx\n"
             "movzx r13d, byte ptr [rsi + rcx]\n"
             "movsx r14, word ptr [rsi + rcx*2 + 1]\n"
             "movsxd r13, dword ptr [rsi + rcx*4]\n"
             "setc byte ptr [rsi + rcx + 0x2000]\n"
             "cmovs rdi, [rsi + rcx*8]\n"
             "bswap rdi\n"
             "bt rdi, 5\n"
             "adc rbp, 0\n"
             "neg byte ptr [rsi + rcx + 0x2100]\n"
             "not word ptr [rsi + rcx + 0x2200]\n"
             "mov [rsi + 0x2300], ah\n"
             "mov bh, [rsi + rcx]\n"
             "add ch, 0\n"
             "dec ecx\n"
             "jnz 1b\n" PAYLOAD_EXIT);

/* Flags that live across memory accesses and blocks. */
PAYLOAD(flags, "mov rsi, 0x30000\n"
               "mov ecx, 64\n"
               "clc\n"
               "1: mov rax, [rsi + rcx*8 - 8]\n"
               "adc [rsi + rcx*8 + 0xff8], rax\n"
               "mov [rsi + 0x2000], rax\n"
               "push rax\n"
               "pop rbx\n"
               "dec ecx\n"
               "jnz 1b\n"
               "adc rdx, 0\n"
               "mov edi, 100\n"
               "2: cmp edi, 50\n"
               "mov [rsi + rdi*8], rdi\n"
               "ja 3f\n"
               "je 4f\n"
               "push rsi\n"
               "seto al\n"
               "pop r8\n"
               "jmp 5f\n"
               "3: inc r9\n"
               "jmp 5f\n"
               "4: inc r10\n"
               "5: pushfq\n"
               "pop r11\n"
               "add r12, r11\n"
               "sub edi, 1\n"
               "mov r13, [rsi]\n"
               "call 6f\n"
               "jns 2b\n"
               "jmp 7f\n"
               ".fill 5000, 1, 0x90\n"
               "6: mov r14, [rsi + 8]\n" /* another page: flags go through calls and returns */
               "ret\n"
               "7: cmp al, 3\n"
               "cmc\n"
               "lahf\n"
               "stc\n"
               "sahf\n" PAYLOAD_EXIT);

PAYLOAD(addresses, "mov rsi, 0x30000\n"
                   "mov rbx, 0xffff\n"
                   "mov rax, [rsi + 0xffc]\n" /* crosses pages */
                   "mov [rsi + 0x1ffd], rax\n"
                   "add qword ptr [rsi + 0x2ffb], rax\n"
                   "lock add qword ptr [rsi + 0xffd], rax\n"
                   "mov word ptr [rsi + 0x1fff], 0x1234\n"
                   "mov rcx, gs:[0]\n"
                   "mov gs:[rbx - 0xfff7], rcx\n"
                   "mov edx, [esi + 4]\n"
                   "mov rdi, 0x100000000\n"
                   "add rdi, rsi\n"
                   "mov r8d, [edi + 8]\n" /* the upper half does not count */
                   "mov r9, [rip + 1f]\n"
                   "lea r10, [rip + 1f]\n"
                   "lea r11d, [rip + 1f]\n"
                   "lea r12d, [rdi + rdi*8 + 5]\n"
                   "lea r13, [edi + 3]\n"
                   "mov r14, [r12 + rbx*4 - 0xffff*4 - 0x10e005]\n"
                   "mov rax, [0x36010]\n"
                   "mov qword ptr [0x36018], 77\n" /* an alias */
                   "mov rdx, [0x37018]\n"
                   "jmp 2f\n"
                   "1: .quad 0x1122334455667788\n"
                   "2: " PAYLOAD_EXIT);

PAYLOAD(stack, "mov ecx, 50\n"
               "1: push rcx\n"
               "push 0x12345678\n"
               "push -5\n"
               "push qword ptr [rsp + 8]\n"
               "pop rdx\n"
               "pop qword ptr [0x30010]\n"
               "pop rax\n"
               "push rsp\n"
               "pop rbx\n"
               "enter 32, 0\n"
               "mov [rbp - 8], rbx\n"
               "lea rdi, [rip + 2f]\n"
               "call rdi\n"
               "mov [0x30100], rdi\n"
               ".byte 0xff, 0x14, 0x25\n" /* call [0x30100], which clang takes for a direct one */
               ".long 0x30100\n"
               "leave\n"
               "lea r8, [rip + 5f]\n"
               "mov eax, ecx\n"
               "and eax, 3\n"
               "movsxd r9, dword ptr [r8 + rax*4]\n"
               "add r9, r8\n"
               "jmp r9\n"
               "2: add r10, rcx\n"
               "push 3\n"
               "lea rsi, [rip + 3f]\n"
               "push rsi\n"
               "ret 8\n"
               "3: ret\n"
               "4: inc r11\n"
               "jmp 6f\n"
               ".balign 4\n"
               "5: .long 4b - 5b, 6f - 5b, 7f - 5b, 4b - 5b\n"
               "7: add r11, 100\n"
               "6: pop rcx\n"
               "dec rcx\n"
               "jnz 1b\n"
               "mov rsp, 0x21003\n" /* misaligned, across pages */
               "push rcx\n"
               "call 8f\n"
               "8: pop r12\n" PAYLOAD_EXIT);

PAYLOAD(divide, "mov rsi, 0x30000\n"
                "mov rax, 1000\n"
                "mov qword ptr [rsi], 7\n"
                "cqo\n"
                "idiv qword ptr [rsi]\n"
                "mov r8, rax\n"
                "mov r9, rdx\n"
                "mov rax, -1000\n"
                "cqo\n"
                "mov rbx, 33\n"
                "idiv rbx\n"
                "mov r10, rax\n"
                "mov eax, -77\n"
                "cdq\n"
                "mov ebx, -1\n"
                "idiv ebx\n"
                "mov r11, rax\n"
                "mov rdx, 5\n"
                "mov rax, 3\n"
                "mov rbx, 6\n"
                "div rbx\n"
                "mov r12, rax\n"
                "mov rdx, -1\n" /* signed, but no extension of the low half */
                "mov rax, 5\n"
                "mov rbx, 9\n"
                "idiv rbx\n"
                "mov r13, rax\n"
                "lea r15, [rip + 1f]\n"
                "xor edx, edx\n"
                "xor ebx, ebx\n"
                "div rbx\n"
                "1: lea r15, [rip + 2f]\n"
                "mov edx, 6\n"
                "mov ebx, 6\n"
                "div ebx\n"
                "2: lea r15, [rip + 3f]\n"
                "mov rax, 0x8000000000000000\n"
                "cqo\n"
                "mov rbx, -1\n"
                "idiv rbx\n"
                "3: lea r15, [rip + 4f]\n"
                "mov ax, 513\n"
                "mov bl, 1\n"
                "div bl\n"
                "4: " PAYLOAD_EXIT);

/* Registers are as before the instruction at fault, in every kind of it. */
PAYLOAD(faults, "mov rsi, 0x34000\n"
                "mov rdi, 0x35000\n"
                "mov rbx, 0x8000000000000000\n"
                "mov ecx, 3\n"
                "1: lea r15, [rip + 2f]\n"
                "add rax, 5\n"
                "cmp rax, 0\n"
                "mov [rsi], rax\n"
                "2: lea r15, [rip + 3f]\n"
                "add rax, [rdi + 8]\n"
                "3: lea r15, [rip + 4f]\n"
                "xchg rax, [rsi + 16]\n"
                "4: lea r15, [rip + 5f]\n"
                "mov rdx, [rbx]\n"
                "5: lea r15, [rip + 6f]\n"
                "mov rdx, [rdi - 4]\n" /* the second page of two */
                "6: lea r15, [rip + 7f]\n"
                "mov [rsi - 4], rdx\n"
                "7: lea r15, [rip + 8f]\n"
                "ud2\n"
                "8: lea r15, [rip + 9f]\n"
                "int3\n"
                "9: lea r15, [rip + 10f]\n"
                "mov r14, rsp\n"
                "lock cmpxchg16b [rsi - 8]\n" /* misaligned: #GP */
                "10: lea r15, [rip + 11f]\n"
                "movabs rax, [0x35008]\n"
                "11: lea r15, [rip + 12f]\n"
                "xor rbp, rbp\n"
                "mov r12, rsp\n"
                "mov rsp, 0x36000\n"
                "push rax\n" /* absent: the handler has a stack of its own */
                "12: mov rsp, r12\n"
                "dec ecx\n"
                "jnz 1b\n" PAYLOAD_EXIT);

/* Rows of PUSH and POP at every place round a page's end, with flags that live across them; rows that meet an absent
 * page half way; a RET behind a row that goes to an address that cannot be. */
PAYLOAD(rows, "mov r12, 0x30fb0\n"
              "1: mov rsp, r12\n"
              "add rax, 7\n"
              "cmp rax, 30\n"
              "push rax\n"
              "push rbx\n"
              "push rcx\n"
              "push rdx\n"
              "push rsi\n"
              "adc rax, [rsp + 8]\n"
              "pop rbx\n"
              "pop rcx\n"
              "pop rdx\n"
              "pop rsi\n"
              "pop rdi\n"
              "call 5f\n"
              "call 9f\n"
              "add r12, 8\n"
              "cmp r12, 0x31050\n"
              "jbe 1b\n"
              "mov r13d, 3\n"
              "2: lea r15, [rip + 3f]\n"
              "mov rsp, 0x36010\n"
              "push rax\n"
              "push rbx\n"
              "push rcx\n" /* absent */
              "push rdx\n"
              "3: add r8, rsp\n"
              "lea r15, [rip + 4f]\n"
              "mov rsp, 0x34ff0\n"
              "pop rax\n"
              "pop rbx\n"
              "pop rcx\n" /* absent */
              "pop rdx\n"
              "4: add r9, rsp\n"
              "lea r15, [rip + 6f]\n"
              "mov rsp, 0x34ff0\n"
              "pop rbp\n"
              "pop rsi\n"
              "ret\n" /* absent */
              "6: add r10, rsp\n"
              "dec r13d\n"
              "jnz 2b\n"
              "lea r15, [rip + 8f]\n"
              "mov rsp, 0x20000\n"
              "mov rdi, 0x8000000000000000\n"
              "push rdi\n"
              "push rax\n"
              "push rcx\n"
              "pop rdx\n"
              "pop rsi\n"
              "ret\n" /* #GP */
              "5: push rbp\n"
              "push r14\n"
              "push r11\n"
              "add r11, 3\n"
              "pop r14\n"
              "pop rbp\n"
              "pop r11\n"
              "ret\n"
              "9: push rbp\n"
              "add rdx, 5\n"
              "pop rbp\n"
              "ret\n"
              "8: mov r14, rsp\n" PAYLOAD_EXIT);

PAYLOAD(atomics, "mov rsi, 0x30000\n"
                 "mov ecx, 20\n"
                 "1: lock xadd [rsi], rcx\n"
                 "mov rcx, [rsi + 0x1000]\n"
                 "mov eax, 20\n"
                 "lock cmpxchg [rsi + 8], rdx\n"
                 "mov rax, [rsi + 8]\n"
                 "lock cmpxchg [rsi + 8], rdi\n"
                 "sete r8b\n"
                 "xchg [rsi + 16], r9\n"
                 "lock inc dword ptr [rsi + 24]\n"
                 "lock bts qword ptr [rsi + 32], 17\n"
                 "setc r10b\n"
                 "mov r11, 300\n"
                 "lock bts [rsi + 32], r11\n"
                 "setc r12b\n"
                 "mov rax, [rsi + 48]\n"
                 "mov rdx, [rsi + 56]\n"
                 "mov rbx, 5\n"
                 "mov rcx, 6\n"
                 "lock cmpxchg16b [rsi + 48]\n"
                 "setz r13b\n"
                 "lock cmpxchg16b [rsi + 48]\n"
                 "cmpxchg8b [rsi + 64]\n"
                 "dec qword ptr [rip + 2f]\n"
                 "mov rcx, [rip + 2f]\n"
                 "test rcx, rcx\n"
                 "jnz 1b\n"
                 "jmp 3f\n"
                 ".balign 8\n"
                 "2: .quad 20\n"
                 "3: " PAYLOAD_EXIT);

PAYLOAD(strings, "cld\n"
                 "mov rsi, 0x30000\n"
                 "mov rdi, 0x31003\n"
                 "mov ecx, 5000\n"
                 "rep movsb\n"
                 "mov rdi, 0x30100\n"
                 "mov rax, 0x1122334455667788\n"
                 "mov ecx, 70\n"
                 "rep stosq\n"
                 "movsq\n"
                 "stosd\n"
                 "lodsw\n"
                 "mov rsi, 0x30000\n"
                 "mov rdi, 0x31003\n"
                 "mov ecx, 300\n"
                 "repe cmpsb\n"
                 "seta dl\n"
                 "mov r8, rcx\n"
                 "mov rdi, 0x30000\n"
                 "mov ecx, 600\n"
                 "mov al, 0x77\n"
                 "repne scasb\n"
                 "mov r9, rdi\n"
                 "std\n"
                 "mov ecx, 20\n"
                 "rep stosw\n"
                 "cld\n"
                 "lea r15, [rip + 1f]\n"
                 "mov rdi, 0x34ff0\n"
                 "mov rsi, 0x35ff0\n"
                 "mov ecx, 64\n"
                 "rep movsb\n"
                 "1: lea r15, [rip + 2f]\n"
                 "mov rsi, 0x33f00\n"
                 "mov rdi, 0x30000\n"
                 "mov ecx, 0x2000\n"
                 "rep movsb\n" /* ends at the absent page */
                 "2: " PAYLOAD_EXIT);

/* Code that changes: itself, the page it runs in, another page, many times. */
PAYLOAD(changes, "mov ecx, 30\n"
                 "lea rsi, [rip + 1f]\n"
                 "lea rdi, [rip + 3f]\n"
                 "2: mov byte ptr [rsi + 1], cl\n" /* the next instruction's immediate */
                 "1: mov al, 0\n"
                 "movzx eax, al\n"
                 "add r8, rax\n"
                 "mov dword ptr [rdi + 1], ecx\n" /* another page */
                 "call rdi\n"
                 "add r9, rax\n"
                 "mov word ptr [rdi + 5], 0xc031\n" /* xor eax, eax instead of two NOPs */
                 "call 3f\n"
                 "add r10, rax\n"
                 "mov word ptr [rdi + 5], 0x9090\n"
                 "mov rbx, rdi\n"
                 "and rbx, -4096\n"
                 "mov [rbx], rcx\n" /* data in a page with code */
                 "dec ecx\n"
                 "jnz 2b\n"
                 "jmp 4f\n"
                 ".fill 4096, 1, 0x90\n"
                 "3: mov eax, 1\n"
                 "nop\n"
                 "nop\n"
                 "ret\n"
                 "4: mov rdi, 0x31000\n" /* code written by a string instruction, run, written again */
                 "mov ebx, 5\n"
                 "5: lea rsi, [rip + 6f]\n"
                 "mov rdi, 0x31000\n"
                 ".byte 0xb9\n.long 7f - 6f\n" /* mov ecx, their distance */
                 "rep movsb\n"
                 "mov [0x31001], ebx\n"
                 "mov rdi, 0x31000\n"
                 "call rdi\n"
                 "add r11, rax\n"
                 "dec ebx\n"
                 "jnz 5b\n"
                 "jmp 7f\n"
                 "6: mov eax, 0\n"
                 "ret\n"
                 "7: " PAYLOAD_EXIT);

/* Another page at the same address: calls to it go to what is there now. */
PAYLOAD(mappings, "mov rsi, 0x30000\n"
                  "mov rdi, 0x31000\n"
                  "mov dword ptr [rsi], 0x000001b8\n" /* mov eax, 1; ret */
                  "mov dword ptr [rsi + 4], 0x90c300\n"
                  "mov dword ptr [rdi], 0x000002b8\n"
                  "mov dword ptr [rdi + 4], 0x90c300\n"
                  "mov r14, 0x32000\n"
                  "mov ecx, 20\n"
                  "1: mov rax, 0x30007\n"
                  "test ecx, 1\n"
                  "jz 2f\n"
                  "mov rax, 0x31007\n"
                  "2: mov [0x4000 + 0x32*8], rax\n"
                  "test ecx, 2\n"
                  "jz 3f\n"
                  "invlpg [r14]\n"
                  "jmp 4f\n"
                  "3: mov rax, cr3\n"
                  "mov cr3, rax\n"
                  "4: call r14\n"
                  "shl r8, 1\n"
                  "add r8, rax\n"
                  "movabs rbx, 0x32000\n"
                  "call rbx\n"
                  "add r9, rax\n"
                  "dec ecx\n"
                  "jnz 1b\n" PAYLOAD_EXIT);

PAYLOAD(interrupts, "mov ecx, 10\n"
                    "1: cli\n"
                    "pushfq\n"
                    "pop rax\n"
                    "add r8, rax\n"
                    "sti\n"
                    "nop\n"
                    "pushfq\n"
                    "pop rax\n"
                    "add r9, rax\n"
                    "push 0x202\n"
                    "popfq\n"
                    "stc\n"
                    "cli\n"
                    "mov rbx, [0x30000]\n"
                    "sti\n"
                    "adc r10, 0\n"
                    "lea r15, [rip + 2f]\n"
                    "int 0x10\n"
                    "2: dec ecx\n"
                    "jnz 1b\n"
                    "cli\n" PAYLOAD_EXIT);

/* To CPL 3 by IRETQ and SYSRET, back by a fault and by SYSCALL; the same code at both levels. */
PAYLOAD(rings, "mov ecx, 0xc0000081\n"
               "mov edx, 0x00130008\n" /* SYSRET: CS 23h, SYSCALL: CS 8 */
               "xor eax, eax\n"
               "wrmsr\n"
               "mov ecx, 0xc0000082\n"
               "lea rax, [rip + 4f]\n"
               "xor edx, edx\n"
               "wrmsr\n"
               "mov ecx, 0xc0000084\n"
               "xor eax, eax\n"
               "wrmsr\n"
               "mov ebp, 5\n"
               "1: lea rax, [rip + 2f]\n"
               "push 0x1b\n"
               "push 0x20000\n"
               "push 0x202\n"
               "push 0x23\n"
               "push rax\n"
               "iretq\n"
               "2: mov rax, [0x30000]\n"
               "add rax, rbp\n"
               "mov [0x30000], rax\n"
               "call 5f\n"
               "mov bx, cs\n"
               "syscall\n"
               "3: cmp ebp, 2\n"
               "lea r15, [rip + 6f]\n"
               "jb 6f\n"
               "cli\n" /* #GP: goes on at R15, at CPL 3 */
               "6: add r9, 1\n"
               "mov r14, 1\n"
               "syscall\n"
               "4: add r8, rcx\n"
               "test r14, r14\n"
               "jnz 7f\n"
               ".byte 0x48, 0x0f, 0x07\n" /* sysretq */
               "7: xor r14, r14\n"
               "call 5f\n"
               "dec ebp\n"
               "jnz 1b\n" PAYLOAD_EXIT "5: mov r10, [0x30008]\n"
               "add r11, r10\n"
               "ret\n");

/* Much code, many jumps: a sieve, and a tree of calls over several pages. */
PAYLOAD(work, "mov rdi, 0x200000\n"
              "mov ecx, 20000\n"
              "mov al, 1\n"
              "rep stosb\n"
              "mov rdi, 0x200000\n"
              "mov ebx, 2\n"
              "1: cmp byte ptr [rdi + rbx], 0\n"
              "je 3f\n"
              "inc r8\n"
              "lea edx, [rbx + rbx]\n"
              "2: cmp edx, 20000\n"
              "jae 3f\n"
              "mov byte ptr [rdi + rdx], 0\n"
              "add edx, ebx\n"
              "jmp 2b\n"
              "3: inc ebx\n"
              "cmp ebx, 20000\n"
              "jb 1b\n"
              "mov edi, 17\n"
              "call 4f\n"
              "jmp 6f\n"
              ".fill 4090, 1, 0x90\n" /* across a page */
              "4: cmp edi, 2\n"
              "jb 5f\n"
              "push rbx\n"
              "push rdi\n"
              "dec edi\n"
              "call 4b\n"
              "mov rbx, rax\n"
              "mov rdi, [rsp]\n"
              "sub edi, 2\n"
              "call 4b\n"
              "add rax, rbx\n"
              "pop rdi\n"
              "pop rbx\n"
              "ret\n"
              "5: mov eax, edi\n"
              "ret\n"
              "6: " PAYLOAD_EXIT);

/* Each instruction names so many registers that no two are left for the whole block. */
PAYLOAD(crowded, "mov rsi, 0x30000\n"
                 "mov rdi, 0x31000\n"
                 "mov rbx, 1\n"
                 "mov rcx, 2\n"
                 "mov r8, 3\n"
                 "mov r9, 4\n"
                 "mov r10, 5\n"
                 "mov r11, 6\n"
                 "mov r12, 7\n"
                 "mov r13, 8\n"
                 "mov r14, 9\n"
                 "mov rbp, 10\n"
                 "mov rdx, 11\n"
                 "mov rax, 12\n"
                 "add r15, [rsi + rbx*8]\n"
                 "adc [rdi + rcx*4], r8\n"
                 "adc r9, [rsi + r10*8]\n"
                 "cmp [rdi + r11], r12\n"
                 "mov [rsi + r13*2], rbp\n"
                 "cmovb rax, [rdi + r14*8 + 1]\n"
                 "sbb rdx, [rsi + rdx*8]\n"
                 "push r15\n"
                 "adc [rsp], rax\n"
                 "pop r15\n"
                 "jc 1f\n"
                 "add r8, 100\n"
                 "1: mul qword ptr [rsi + rbx*8]\n"
                 "mov [rsi], ah\n" PAYLOAD_EXIT);

struct end {
    struct cpu_state cpu;
    uint8_t memory[WORLD_BYTES];
};

static struct end *run(struct isa_fixture *board, const struct engine *engine, const uint8_t *code, const uint8_t *to)
{
    struct world w;
    struct end *end = malloc(sizeof *end);
    assert_non_null(end);
    world_init(&w, board, engine);
    world_run(&w, code, (size_t)(to - code));
    end->cpu = w.out;
    assert_int_equal(memory_read(w.memory, 0, end->memory, WORLD_BYTES), 0);
    world_fini(&w);
    return end;
}

static const uint64_t arithmetic = 0x8d5;

static void compare(void **state, const uint8_t *code, const uint8_t *to)
{
    struct end *interp = run(*state, &engine_interp, code, to), *dbt = run(*state, &engine_dbt, code, to);
    for (unsigned n = 0; n < CPU_GPR_COUNT; n++)
        if (interp->cpu.gpr[n] != dbt->cpu.gpr[n])
            fail_msg("register %u: %#llx is to be %#llx", n, (unsigned long long)dbt->cpu.gpr[n],
                     (unsigned long long)interp->cpu.gpr[n]);
    assert_int_equal(dbt->cpu.rip, interp->cpu.rip);
    /* flags that nobody reads any more may differ; a payload that cares leaves them in a register */
    assert_int_equal(dbt->cpu.rflags & ~arithmetic, interp->cpu.rflags & ~arithmetic);
    for (unsigned at = 0; at < WORLD_BYTES; at++)
        if (interp->memory[at] != dbt->memory[at])
            fail_msg("memory at %#x: %#x is to be %#x", at, dbt->memory[at], interp->memory[at]);
    free(dbt);
    free(interp);
}

#define SAME(name)                                                                                                     \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        compare(state, name, name##_end);                                                                              \
    }
SAME(alu)
SAME(flags)
SAME(addresses)
SAME(stack)
SAME(divide)
SAME(faults)
SAME(rows)
SAME(atomics)
SAME(strings)
SAME(changes)
SAME(mappings)
SAME(interrupts)
SAME(rings)
SAME(work)
SAME(crowded)

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, isa_setup, isa_teardown)
    const struct CMUnitTest tests[] = {
        TEST(alu),        TEST(flags),   TEST(addresses), TEST(stack),   TEST(divide),
        TEST(faults),     TEST(atomics), TEST(strings),   TEST(changes), TEST(mappings),
        TEST(interrupts), TEST(rings),   TEST(work),      TEST(crowded), TEST(rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
