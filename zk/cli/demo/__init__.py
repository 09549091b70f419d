"""`zk demo`: the service at its main job, on real processes, with servers and workers killed on the way, and then held
to account.

Read in this order: plan.py (what stands where in the tree), worker.py (what an application on this service looks like),
controller.py (the order of events), probe.py (how long writes stopped), verify.py (what must have come of it).
"""
