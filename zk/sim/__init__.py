"""A deterministic simulator of a whole ensemble: the production code over a simulated network, disk and clock.

One seed gives one run, to the last byte: every fault, delay and torn page in it can be had again. Public, as a test kit
is: `run` (bare engines) and `run_service` (whole replicas and their clients) for one seed, `python -m zk.sim` for many;
its parts (`World`, `Network`, `Disk`, `Node`) for scenarios of
one's own. Read in this order: world.py, network.py, disk.py, node.py, checkers.py, faults.py, swarm.py;
for whole replicas also service.py, clients.py, witness.py.
"""

from zk.sim.swarm import Mode, Result, run, run_service
from zk.sim.trace import Trace
from zk.sim.world import Violation, World

__all__ = ["Mode", "Result", "Trace", "Violation", "World", "run", "run_service"]
