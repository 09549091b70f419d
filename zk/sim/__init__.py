"""A deterministic simulator of a whole ensemble: the production code over a simulated network, disk and clock.

One seed gives one run, to the last byte: every fault, delay and torn page in it can be had again. Public, as a test kit
is: `run(Plan(seed=..))` for one run, `zk sim` for many, scenario.py for stories told by hand. Read in this order:
plan.py, world.py, network.py, disk.py, node.py, checkers.py, faults.py, strikes.py, truces.py, swarm.py; for whole
replicas also service.py, clients.py, witness.py, recipes.py, referee.py; for stories scenario.py; for many runs
campaign.py, coverage.py, shrink.py.
"""

from zk.sim.plan import Layer, Mode, Plan
from zk.sim.plant import Plant, load_plants
from zk.sim.swarm import Result, run
from zk.sim.trace import Trace
from zk.sim.world import Violation, World

__all__ = ["Layer", "Mode", "Plan", "Plant", "Result", "Trace", "Violation", "World", "load_plants", "run"]
