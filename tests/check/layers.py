#!/usr/bin/python3
"""Who may include whom (the table of docs/architecture.md). Fails on the first include that it forbids."""
import os
import re
import sys

MAY_USE = {
    'node/base': {'node/base'},
    'node/agent': {'node/agent', 'node/base'},
    'node/drill': {'node/drill', 'node/agent', 'node/base'},
    'node/cli': {'node/cli', 'node/base'},
    'nbd': {'nbd', 'node/base'},
    'replication': {'replication', 'nbd', 'node/base'},
    'hv': {'hv', 'replication', 'nbd', 'node/base'},
    'balancer': {'balancer', 'node/base'},
    'tests': {'tests', 'hv', 'balancer', 'replication', 'nbd', 'node/base', 'node/agent', 'node/drill', 'node/cli'},
}
FORBIDDEN_NAMES = re.compile(r'(^|[_/])(utils?|common|misc|helpers?|managers?)([_.]|$)')
TOP = {'CMakeLists.txt', 'README.md', 'LICENSE', 'node', 'hv', 'nbd', 'replication', 'balancer', 'tests', 'ansible',
       'docs', 'build'}


def room(path):
    for name in sorted(MAY_USE, key=len, reverse=True):
        if path == name or path.startswith(name + '/'):
            return name
    return None


def main(root):
    wrong = []
    for name in os.listdir(root):
        if name not in TOP and not name.startswith('.'):
            wrong.append('%s: does not belong at the top level' % name)
    with open(os.path.join(root, 'CMakeLists.txt')) as f:
        listed = f.read()
    for top in ('node', 'nbd', 'replication', 'hv', 'balancer', 'tests'):
        for directory, _, files in os.walk(os.path.join(root, top)):
            for name in files:
                path = os.path.relpath(os.path.join(directory, name), root)
                if not name.endswith(('.c', '.h')):
                    continue
                if FORBIDDEN_NAMES.search(path):
                    wrong.append('%s: a file is named after its one noun' % path)
                if name.endswith('.c') and top != 'tests' and path not in listed:
                    wrong.append('%s: not in CMakeLists.txt' % path)
                with open(os.path.join(root, path)) as f:
                    for number, line in enumerate(f, 1):
                        m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                        if m and room(m.group(1)) not in MAY_USE[room(path)]:
                            wrong.append('%s:%d: %s may not include %s' % (path, number, room(path), m.group(1)))
    print('\n'.join(wrong) or 'every include is allowed')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
