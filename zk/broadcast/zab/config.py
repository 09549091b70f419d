"""What an operator, or a test, may set about the broadcast. Times are milliseconds, sizes are bytes."""

from zk.model.limits import KIB, MIB
from zk.model.record import ServerId, record

EPOCH_JUMP_MAX = 1 << 20
"""An epoch further above one's own than this is not believed: it would use up the epochs."""
COUNTER_ROLLOVER = 0xF000_0000
"""From here on the leader looks for a quiet moment to begin a new epoch."""
COUNTER_MAX = 0xFFFF_FFFD
"""The last counter that is ever given. A leader that comes so far takes no proposals until its new epoch."""
DELIVERED_PER_STEP_MAX = 4_096
"""So many entries are handed up at once: to apply a long history must not keep a server from its heartbeats."""

ALONE_HISTORY_BYTES_MAX = MIB
"""Of the history, the only voter keeps no more in memory: nobody could need it."""


@record
class ZabConfig:
    """`voters` counts only until the log holds a Membership: the log is the authority."""

    server_id: ServerId
    voters: frozenset[ServerId]
    cluster_name: str
    heartbeat_ms: int = 50
    leader_timeout_ms: int = 250  # a leader steps down when no quorum answered pings sent within it
    follower_timeout_ms: int = 350  # plus jitter; longer than the leader's, so that the old one stops first
    disk_timeout_ms: int = 2_000  # a leader whose disk reports nothing for so long hands over to one whose disk does
    election_round_ms: int = 250  # a poll is repeated sooner, and who won one is given a multiple of it
    resign_ms: int = 150  # how long a resigning leader waits for a follower that has everything
    uncommitted_txns_max: int = 2_000
    uncommitted_bytes_max: int = 4 * MIB
    proposal_txns_max: int = 512
    proposal_bytes_max: int = 256 * KIB
    sync_frames_max: int = 4  # frames of a synchronisation under way
    in_flight_bytes_max: int = 8 * MIB  # sent to a follower and not acknowledged: more would not be sent, it is dropped
    history_entries_max: int = 120_000  # kept in memory for DIFF, if there is more than one voter
    history_bytes_max: int = 64 * MIB
    initial_counter: int = 0  # tests start an epoch's transactions behind it
