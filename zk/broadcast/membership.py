"""Membership: who belongs to the ensemble, as the log says it. A function of the log: each CONFIG entry replaces it."""

import json
from collections.abc import Mapping
from hashlib import blake2b

from zk.model.record import ServerId, record


@record
class Membership:
    """`configs` are all voter sets in force (one; two while they change): a decision needs a majority of each.

    `disks` maps a server to the uuid of the data directory that the ensemble knows it by; a server with another one
    has lost what it once promised, and does not count until a new Membership names its new disk. `cluster_id` tells
    one founding of the ensemble from another: their histories have nothing in common, though their zxids look alike.
    """

    cluster_id: str
    configs: tuple[frozenset[ServerId], ...]
    disks: tuple[tuple[ServerId, str], ...]

    @classmethod
    def founding(cls, cluster_name: str, voters: frozenset[ServerId], disks: Mapping[ServerId, str]) -> "Membership":
        """The first one of an ensemble. Its id is made of the founders' disks, and not drawn: if a founder dies before
        its founding is committed, and the others found anew, both are one founding, told apart by their epochs."""
        named = tuple(sorted(disks.items()))
        return cls(f"{cluster_name}-{blake2b(repr(named).encode(), digest_size=8).hexdigest()}", (voters,), named)

    def disk(self, server: ServerId) -> str:
        """The uuid of the disk that `server` counts with; "" if it has none."""
        return next((uuid for known, uuid in self.disks if known == server), "")

    def with_disk(self, server: ServerId, uuid: str) -> "Membership":
        """The same, but `server` counts with the disk `uuid`, or with none if it is ""."""
        others = [(known, disk) for known, disk in self.disks if known != server]
        return Membership(self.cluster_id, self.configs, tuple(sorted([*others, (server, uuid)] if uuid else others)))

    def encode(self) -> bytes:
        return json.dumps(
            {
                "cluster_id": self.cluster_id,
                "configs": [sorted(config) for config in self.configs],
                "disks": {str(server): uuid for server, uuid in self.disks},
            },
            sort_keys=True,
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Membership":
        """Raise ValueError if `data` is no membership."""
        try:
            fields = json.loads(data)
            membership = cls(
                fields["cluster_id"],
                tuple(frozenset(ServerId(server) for server in config) for config in fields["configs"]),
                tuple(sorted((ServerId(int(server)), str(uuid)) for server, uuid in fields["disks"].items())),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a membership: {error!r}") from error
        if not membership.configs or not all(membership.configs):
            raise ValueError("not a membership: it has no voters")
        return membership
