"""/zookeeper/config: who belongs to the ensemble, for clients that look there, in ZooKeeper's form.

One line for each server, `server.1=host:2888:3888:participant`, and one for the version, `version=100000001`; empty for
a server that is alone. The leader writes it, through the log; clients may only read it.
"""

from collections.abc import Mapping
from dataclasses import replace

from zk.model.events import EventType
from zk.model.replies import DONE, Done
from zk.model.requests import NameMembers
from zk.model.znode import Znode
from zk.tree.changes import Change
from zk.tree.store import Store
from zk.tree.writes import next_version

CONFIG = "/zookeeper/config"


def members(znodes: Mapping[str, Znode]) -> tuple[str, ...]:
    """The servers' lines; whatever a super user may have written there."""
    return tuple(znodes[CONFIG].data.decode(errors="replace").split("\n")[:-1])


def name_members(store: Store, request: NameMembers) -> Done:
    """Write the lines. The version is the zxid, so that a newer configuration has a larger one, as with ZooKeeper."""
    old = store.znodes[CONFIG]
    text = "\n".join((*request.members, f"version={store.zxid:x}"))
    new = replace(old, data=text.encode(), mzxid=store.zxid, mtime=store.time_ms, version=next_version(old.version))
    store.replace(CONFIG, old, new)
    store.changes.append(Change(EventType.DATA_CHANGED, CONFIG, store.zxid, old.acl))
    return DONE
