#!/usr/bin/python3
"""Every relative link of the documentation leads to a file, and every file of docs/ is linked from somewhere."""
import os
import re
import sys


def main(root):
    pages = [os.path.join(root, 'README.md')]
    for directory, _, files in os.walk(os.path.join(root, 'docs')):
        pages += [os.path.join(directory, f) for f in files if f.endswith('.md')]
    wrong, linked = [], {os.path.realpath(pages[0])}
    for page in pages:
        with open(page) as f:
            text = f.read()
        for target in re.findall(r'\]\(([^)#\s]+)[^)]*\)', text):
            if re.match(r'[a-z]+:', target):
                continue
            path = os.path.realpath(os.path.join(os.path.dirname(page), target))
            linked.add(path)
            if not os.path.exists(path):
                wrong.append('%s: no such file: %s' % (os.path.relpath(page, root), target))
    for page in pages:
        if os.path.realpath(page) not in linked:
            wrong.append('%s: linked from nowhere' % os.path.relpath(page, root))
    print('\n'.join(wrong) or 'every link leads somewhere')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
