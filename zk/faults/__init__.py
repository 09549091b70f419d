"""Real faults for real processes: networks that can be cut (namespaces.py) and clocks that can be set (clocks.py).

A kit for tests, like zk.server.testing, and public like it: whoever runs a service of his own can hold it against the
same faults. For virtual time and virtual disks see zk.sim.
"""
