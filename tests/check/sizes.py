#!/usr/bin/python3
"""House sizes: .c files up to 800 lines, headers up to 200, functions up to 100, lines up to 120 columns. A file that is
long on purpose says `long: why` in its first comment; a function, in the line above it."""
import os
import re
import sys

C_LINES, H_LINES, FUNCTION_LINES, COLUMNS = 800, 200, 100, 120


def check(path, text):
    lines = text.split('\n')
    limit = H_LINES if path.endswith('.h') else C_LINES
    if len(lines) > limit and 'long:' not in '\n'.join(lines[:20]):
        yield '%s: %d lines, at most %d' % (path, len(lines), limit)
    for i, line in enumerate(lines):
        if len(line) > COLUMNS:
            yield '%s:%d: %d columns' % (path, i + 1, len(line))
        if line == '{':
            end = next((j for j in range(i, len(lines)) if lines[j] == '}'), len(lines))
            above = '\n'.join(lines[max(0, i - 4):i])
            if end - i > FUNCTION_LINES and 'long:' not in above:
                yield '%s:%d: a function of %d lines, at most %d' % (path, i, end - i, FUNCTION_LINES)
        if re.search(r'\b(TODO|FIXME|XXX|HACK)\b', line):
            yield '%s:%d: unfinished' % (path, i + 1)


def main(root):
    wrong = []
    for top in ('node', 'nbd', 'replication', 'hv', 'balancer', 'tests'):
        for directory, _, files in os.walk(os.path.join(root, top)):
            for name in sorted(files):
                if name.endswith(('.c', '.h')):
                    path = os.path.join(directory, name)
                    with open(path) as f:
                        wrong += check(os.path.relpath(path, root), f.read())
    print('\n'.join(wrong) or 'every file and function has its size')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
