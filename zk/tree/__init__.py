"""The state machine: znodes, sessions, quotas; `Tree.apply` for ordered writes, `Tree.read` for reads. Pure and
deterministic."""
