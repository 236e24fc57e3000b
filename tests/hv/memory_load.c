/* Runs in a guest: rewrites memory as fast as it can, and says so if it does not find what it has written.
 *
 *     memory_load MIB [verify|same]     until /tmp/stop exists; its last line: "passes N wrong M"
 *
 * same: each time with what is there already.
 *
 * Every eight bytes hold the number of the pass and their own place; the pass is the same for a whole page. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE_WORDS = 512 };

static uint64_t word(uint64_t pass, uint64_t place)
{
    return (pass << 32) ^ (place * 0x9e3779b97f4a7c15);
}

static void note(const char *path, uint64_t passes, uint64_t wrong)
{
    char text[80];
    FILE *f = fopen("/tmp/passes.new", "w");
    if (!f)
        return;
    snprintf(text, sizeof text, "passes %llu wrong %llu\n", (unsigned long long)passes, (unsigned long long)wrong);
    fputs(text, f);
    fclose(f);
    rename("/tmp/passes.new", path);
}

int main(int argc, char **argv)
{
    size_t words = (size_t)(argc > 1 ? atoi(argv[1]) : 64) << 17;
    int verify = argc > 2 && strcmp(argv[2], "verify") == 0, same = argc > 2 && strcmp(argv[2], "same") == 0;
    uint64_t wrong = 0, pass = 0;
    volatile uint64_t *m =
        mmap(NULL, words * sizeof *m, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (m == MAP_FAILED)
        return 1;
    while (access("/tmp/stop", F_OK)) {
        for (size_t i = 0; i < words; i++) {
            if (verify && pass && m[i] != word(pass, i))
                wrong++;
            m[i] = word(same ? 1 : pass + 1, i);
        }
        pass++;
        note("/tmp/passes", pass, wrong);
    }
    printf("passes %llu wrong %llu\n", (unsigned long long)pass, (unsigned long long)wrong);
    return wrong != 0;
}
