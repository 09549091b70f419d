"""`python -m zk.sim`: run a range of seeds, and show the first violation with the command that shows it again."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from zk.sim.coverage import BROADCAST
from zk.sim.plan import Layer, Mode, Plan
from zk.sim.swarm import run
from zk.sim.trace import Trace
from zk.sim.world import Violation


def main(words: Sequence[str] | None = None) -> int:
    """Run the seeds that the command line names; 1 if one of them shows a violation."""
    parser = argparse.ArgumentParser(prog="python -m zk.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first one")
    parser.add_argument("--servers", type=int, choices=(1, 3, 5), default=3)
    parser.add_argument("--mode", choices=[mode.value for mode in Mode], default=Mode.UNIFORM.value)
    parser.add_argument("--whole", action="store_true", help="whole replicas with clients, not bare engines")
    parser.add_argument("--trace", action="store_true", help="one line per event")
    arguments = parser.parse_args(words)
    layer = Layer.SERVICE if arguments.whole else Layer.BROADCAST
    counters: Counter[str] = Counter()
    events = committed = 0
    began = time.perf_counter()
    for seed in range(arguments.start, arguments.start + arguments.seeds):
        trace = Trace(print) if arguments.trace else None
        try:
            result = run(Plan(seed, arguments.servers, Mode(arguments.mode), layer), trace)
        except Violation as violation:
            print(violation)
            print(
                f"again: python -m zk.sim --start {seed} --seeds 1 --servers {arguments.servers} "
                f"--mode {arguments.mode} {'--whole ' if arguments.whole else ''}--trace"
            )
            return 1
        events += result.events
        committed += result.committed
        counters += result.counters
    took_s = time.perf_counter() - began
    print(f"{arguments.seeds} seeds, {events} events ({events / took_s:,.0f}/s), {committed} committed, no violation")
    for name, count in sorted(counters.items()):
        print(f"  {count:10} {name}")
    unseen = [name for name in BROADCAST if not counters[name]]
    if unseen:
        print(f"never happened: {', '.join(unseen)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
