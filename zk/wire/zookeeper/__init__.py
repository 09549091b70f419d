"""ZooKeeper's own wire protocol: its clients find here what they know, translated to the model's requests and back."""

from zk.wire.zookeeper.connection import ServerConnection, begins

__all__ = ["ServerConnection", "begins"]
