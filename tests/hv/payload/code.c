/* Code that changes: itself, another page's, through another address, in the middle of what is being executed. */
#include "tests/hv/payload/payload.h"

typedef int function(void);

static const uint8_t returns[] = {0xb8, 1, 0, 0, 0, 0xc3}; /* mov $1, %eax; ret */

static void put(uint8_t *to, const uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        ((volatile uint8_t *)to)[i] = bytes[i];
}

static void simple(void)
{
    uint8_t *p = fresh_page();
    function *f = (function *)(uint64_t)p;
    put(p, returns, sizeof returns);
    bool holds = f() == 1;
    for (unsigned i = 0; i < 100; i++) {
        ((volatile uint8_t *)p)[1] = (uint8_t)i;
        holds &= f() == (int)i;
    }
    check("a function that is changed between calls", holds);
    map(WINDOW + 0x30000, (uint64_t)p, 3);
    holds = true;
    for (unsigned i = 0; i < 50; i++) {
        *(volatile uint8_t *)(WINDOW + 0x30001) = (uint8_t)(i + 3);
        holds &= f() == (int)(i + 3);
    }
    check("... through another address", holds);
}

/* mov $5, 1f+1(%rip); 1: mov $1, %eax; ret: the very next instruction is written. */
static void itself(void)
{
    static const uint8_t next[] = {0xc6, 0x05, 1, 0, 0, 0, 5, 0xb8, 1, 0, 0, 0, 0xc3};
    uint8_t *p = fresh_page();
    put(p, next, sizeof next);
    int first = ((function *)(uint64_t)p)();
    put(p, next, sizeof next);
    int second = ((function *)(uint64_t)p)();
    check("an instruction that writes the next one", first == 5 && second == 5);
}

static void crossing(void)
{
    uint8_t *first = fresh_page(), *second = fresh_page();
    uint64_t a = WINDOW + 0x40000;
    map(a, (uint64_t)first, 3);
    map(a + 0x1000, (uint64_t)second, 3);
    put((uint8_t *)a + 0xffe, returns, sizeof returns);
    function *f = (function *)(a + 0xffe);
    bool holds = f() == 1;
    *(volatile uint8_t *)(a + 0x1001) = 0; /* the third byte of the number, in the second page */
    second[0] = 2;
    holds &= f() == (1 | 2 << 8);
    first[0xfff] = 9;
    holds &= f() == (9 | 2 << 8);
    check("an instruction across two pages, each changed", holds);
    uint8_t *other = fresh_page();
    other[0] = 4, other[1] = 0, other[2] = 0, other[3] = 0xc3;
    map(a + 0x1000, (uint64_t)other, 3);
    check("... and its second page mapped elsewhere", f() == (9 | 4 << 8));
}

static void remapped(void)
{
    uint8_t *one = fresh_page(), *two = fresh_page();
    uint64_t a = WINDOW + 0x50000;
    put(one, returns, sizeof returns);
    put(two, returns, sizeof returns);
    two[1] = 2;
    bool holds = true;
    for (unsigned i = 0; i < 20; i++) {
        map(a, (uint64_t)(i & 1 ? two : one), 3);
        holds &= ((function *)a)() == (i & 1 ? 2 : 1);
    }
    check("another page at the same address", holds);
}

static void loops(void)
{
    /* mov $1000, %ecx; 1: incb 2f+2(%rip); 2: add $0, %eax (its byte grows); dec %ecx; jnz 1b; ret */
    static const uint8_t grows[] = {0x31, 0xc0, 0xb9, 200,  0, 0,    0,    0xfe, 0x05, 2,   0,
                                    0,    0,    0x83, 0xc0, 0, 0xff, 0xc9, 0x75, 0xf3, 0xc3};
    uint8_t *p = fresh_page();
    put(p, grows, sizeof grows);
    int sum = 0;
    for (unsigned i = 1; i <= 200; i++)
        sum += (int8_t)i;
    check("a loop that changes itself every time", ((function *)(uint64_t)p)() == sum);
}

void test_code_changes(void)
{
    simple();
    itself();
    crossing();
    remapped();
    loops();
}
