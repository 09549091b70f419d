"""A hierarchical coordination service: a replicated tree of znodes with sessions, watches and ordered writes.

Read in this order: zk.model (the values), zk.tree (what a write does), zk.broadcast (how writes are ordered),
zk.replica (one whole
server without I/O), zk.server (the edge that does the I/O).
"""

__version__ = "0.1.0"
