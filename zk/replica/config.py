"""What a replica must be told."""

from collections.abc import Mapping
from dataclasses import field

from zk.broadcast.zab import ZabConfig
from zk.model.limits import DEFAULT_LIMITS, Limits
from zk.model.record import record


@record
class ReplicaConfig:
    """Times are milliseconds. `zab` names the server and its ensemble."""

    zab: ZabConfig
    limits: Limits = DEFAULT_LIMITS
    version: str = "0"
    super_digest: str = field(default="", repr=False)  # 'super:BASE64SHA1': whose password it is may do everything
    sasl_users: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)  # passwords by name
    members: tuple[str, ...] = ()  # what /zookeeper/config is to say of the ensemble, a line for each server
    read_only_mode: bool = False  # without a quorum, serve reads to clients that ask for it
    heard_interval_ms: int = 200  # how often a follower passes on its clients' signs of life
    leaderless_ms_max: int = 1_500  # how long clients are kept, and new ones wait (or to be read-only), for a leader
    pause_ms_max: int = 500  # a longer gap between two ticks means that this process did not run
    reap_interval_ms: int = 60_000  # how often containers and TTL nodes are looked after
    snapshot_every_txns: int = 50_000  # or as many as there are znodes, so that a snapshot costs little per write
    snapshot_every_bytes: int = 256 * 1024 * 1024  # of payload
    digest_every_txns: int = 2_048  # servers compare their trees where a zxid's counter is a multiple of this
    snapshot_nodes_per_slice: int = 2_000  # how much of a snapshot is encoded between two rounds of requests
