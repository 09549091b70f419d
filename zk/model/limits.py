"""Every limit of the service, by name, with its default. Whatever can grow has one; each is tested where it is
enforced."""

from zk.model.record import record

KIB = 1024
MIB = 1024 * KIB

# Not the operator's to set: they are part of applying a transaction, which is the same on every server.
IDENTITIES_PER_SESSION_MAX = 16
RESTORED_EPOCH_MAX = (1 << 19) - 1  # of a tree from elsewhere: half of the jump that servers believe of each other
STORED_ANSWERS_PER_SESSION_MAX = 4_000  # answers kept for exactly-once resends

PAGE_DATA_BYTES_MAX = 1 * MIB  # the sum of all data in one page of children, unless the first one alone has more


@record
class Limits:
    """Limits that an operator may set. Sizes are bytes, times are milliseconds."""

    frame_bytes_max: int = 4 * MIB  # one native frame, request or reply
    zookeeper_frame_bytes_max: int = 1 * MIB - 1  # one request of ZooKeeper's protocol: its jute.maxbuffer
    data_bytes_max: int = 1 * MIB  # the data of one znode; also the sum of all data in one multi
    path_length_max: int = 4 * KIB  # characters
    acl_entries_max: int = 64
    multi_operations_max: int = 1_000
    paths_per_set_watches_max: int = 1_000  # in each of its lists; a client with more sends several calls
    children_per_page_max: int = 10_000
    watches_per_connection_max: int = 100_000
    outstanding_requests_max: int = 2_000  # per connection, unanswered; beyond it the connection is not read
    connections_per_address_max: int = 10_000
    connections_max: int = 50_000
    send_buffer_bytes_max: int = 16 * MIB  # unsent bytes per connection; beyond it the connection is closed
    handshake_timeout_ms: int = 10_000
    session_timeout_ms_min: int = 4_000
    session_timeout_ms_max: int = 40_000
    history_changes_max: int = 100_000  # committed changes kept to answer watch(since=)


DEFAULT_LIMITS = Limits()
