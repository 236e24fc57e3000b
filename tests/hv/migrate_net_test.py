#!/usr/bin/python3
"""A guest moves while it answers pings and serves a TCP stream: no connection is lost, no byte is wrong, and it is found at once
where it runs now. The longest gaps are told, and judged by nobody: the machine may be busy.

usage: migrate_net_test.py [unittest arguments]"""
import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import migrate_test  # noqa: E402
import traffic  # noqa: E402
from moving import Watch, migrate  # noqa: E402

MOVES = int(os.environ.get('DROVER_MOVES', '4'))


class Traffic(migrate_test.Moving):
    taps = 0

    def options(self, **how):
        Traffic.taps += 1
        name = 'tap%d' % Traffic.taps
        traffic.tap(name)
        return (*super().options(**how), '--net', 'tap=%s,mac=%s' % (name, traffic.MAC))

    def answers(self):
        for _ in range(100):
            try:
                return traffic.Stream()
            except OSError as error:
                said = error
                time.sleep(0.1)
        self.fail('the guest does not serve: %s' % said)

    def test_nothing_is_lost(self):
        g = self.begin()
        g.check(traffic.SERVE)
        stream = self.answers()
        ping = traffic.Ping()
        self.works(g)
        print('without a move: longest gap of %d pings %.1f ms' % (ping.end()[0], ping.gap * 1e3))
        for i in range(MOVES):
            ping, before = traffic.Ping(), stream.back
            there = self.coming()
            watch = Watch(g)
            migrate(g, there.port, self.key_path)
            last = watch.phase('done', 'failed')
            watch.close()
            self.assertEqual(last['phase'], 'done', last)
            self.ended(g)
            self.works(there)  # which takes a moment, in which the stream goes on
            answers, gap = ping.end()
            self.assertIsNone(stream.wrong)
            self.assertGreater(stream.back, before)
            self.assertGreater(answers, 0)
            print('move %d: downtime %.1f ms, longest gap of %d pings %.1f ms' % (i, last['downtime-ms'], answers, gap * 1e3), flush=True)
            g = there
        came_back, gap, wrong = stream.end()
        self.assertIsNone(wrong)
        print('stream: %d KiB came back over %d moves, longest gap %.1f ms' % (came_back >> 10, MOVES, gap * 1e3), flush=True)
        self.finish(g)


if __name__ == '__main__':
    if os.geteuid():
        print('skipped: needs root for a network of its own')
        sys.exit(77)
    traffic.enter()
    unittest.main(verbosity=2)
