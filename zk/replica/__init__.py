"""One whole server without I/O: broadcast, tree, sessions, watches and the order within each session.
`Replica.step(event)` gives effects.

Read events.py first: it is everything a server takes in and gives out. The edge (zk.server) and the simulator (zk.sim)
both drive it.
"""
