"""Atomic broadcast: orders opaque payloads. Pure: no I/O, no clock, no thread, no chance but the one handed in.

`engine` says what any engine is; `zab` is ours. It never looks into a payload, and knows nothing of trees, sessions or
clients.
"""
