#!/usr/bin/python3
"""Two versions in one cluster, by hand: DROVER_OLD is the build folder of an older one. Its nodes are upgraded one after the other
under a guest that writes, the guest moves between the versions both ways, an agent goes back to the old version, and a node of either
version takes over from one of the other."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import failover_test  # noqa: E402
from cluster import DROVERD, until  # noqa: E402
from failover_test import Load  # noqa: E402

OLD = os.path.join(os.environ.get('DROVER_OLD', ''), 'droverd')


class Mixed(failover_test.Failover):
    @classmethod
    def prepare(cls):
        super().prepare()
        for node in cls.nodes:
            cls.becomes(node, OLD)

    @classmethod
    def becomes(cls, node, program):
        node.program = program
        node.restart()
        until('it is there', lambda: node.do('node', 'show', node.name)['state'].get('alive'))

    def goes(self, name, to):
        done = self.n1.cli('guest', 'migrate', name, '--to', to.name, '--wait')
        self.assertEqual(done.returncode, 0, done.stderr)
        until('it runs there', lambda: self.runs_on(name) == to)
        until('only one is left', lambda: self.processes(name) == [to])

    def writes(self, name, node, load):
        """Seen from there now; what was said before counts, too."""
        load.end()
        again = Load(node, name, load.last())
        again.acked[:0] = load.acked
        again.goes_on()
        return again

    def test_versions(self):
        self.protect('web', self.n2)
        load = Load(self.n2, 'web')
        load.goes_on(20)
        pid = self.show('web')['state']['pid']
        self.becomes(self.n1, DROVERD)
        load.goes_on()
        self.goes('web', self.n1)
        load = self.writes('web', self.n1, load)
        self.goes('web', self.n3)
        load = self.writes('web', self.n3, load)
        self.goes('web', self.n2)
        load = self.writes('web', self.n2, load)
        load.end()
        pid = self.show('web')['state']['pid']
        self.becomes(self.n2, DROVERD)
        self.assertEqual(self.show('web')['state']['pid'], pid)
        load = self.writes('web', self.n2, load)
        load.end()
        self.becomes(self.n2, OLD)  # back
        self.assertEqual(self.show('web')['state']['pid'], pid)
        load = self.writes('web', self.n2, load)
        self.kill(self.n2)
        heir = self.moves('web', self.n2)
        self.verify('web', heir, load)
        self.all_are_back()

    def test_old_takes_over(self):
        self.becomes(self.n2, DROVERD)
        self.becomes(self.n1, OLD)
        self.protect('web2', self.n2)
        load = Load(self.n2, 'web2')
        load.goes_on(20)
        self.kill(self.n2)
        heir = self.moves('web2', self.n2)
        self.verify('web2', heir, load)
        self.all_are_back()


def load_tests(loader, tests, pattern):
    return unittest.TestSuite([Mixed(n) for n in loader.getTestCaseNames(Mixed) if n in Mixed.__dict__])


if __name__ == '__main__':
    if not os.path.exists(OLD):
        sys.exit('DROVER_OLD must be the build folder of another version')
    unittest.main(verbosity=2)
