#!/usr/bin/python3
"""Every alert of the role monitoring has its runbook, by its name, and names it; no runbook is of an alert that is gone.

usage: runbooks.py ROOT"""
import os
import re
import sys

root = sys.argv[1]
with open(os.path.join(root, 'ansible/roles/monitoring/templates/rules.yml.j2')) as f:
    rules = f.read()
with open(os.path.join(root, 'docs/runbooks.md')) as f:
    pages = re.findall(r'^## (\w+)$', f.read(), re.M)
alerts = re.findall(r'- alert: (\w+)', rules)
named = re.findall(r'runbook: "docs/runbooks.md#(\w+)"', rules)
wrong = ['no runbook of %s' % a for a in alerts if a not in pages]
wrong += ['a runbook of %s, which is no alert' % p for p in pages if p not in alerts]
if named != [a.lower() for a in alerts]:
    wrong.append('the rules do not name the runbook of each alert')
if not alerts:
    wrong.append('no alert is found')
print('\n'.join(wrong) or 'every alert has its runbook')
sys.exit(bool(wrong))
