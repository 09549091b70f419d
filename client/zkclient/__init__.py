"""The Python client: `AsyncZooKeeper`, its recipes, its errors, and the values that its methods take and return.

Read in this order: client (the methods), machine (the session, without I/O), driver (sockets and clocks), recipes.
"""

from zk.model.acl import CREATOR_ALL_ACL, OPEN_ACL, READ_ACL, Acl, Identity, Perms
from zk.model.events import EventType, WatchEvent
from zk.model.replies import PageEntry, StatusReply
from zk.model.requests import CreateMode, GetChildren, GetData
from zk.model.stat import Stat
from zkclient import errors
from zkclient.blocking import ZooKeeper
from zkclient.cache import CacheChanges
from zkclient.caches import ChildrenCache, NodeCache, TreeCache
from zkclient.client import AsyncZooKeeper
from zkclient.datawatch import ChildrenWatch, DataWatch
from zkclient.errors import *  # noqa: F403 - the whole family, by its own __all__
from zkclient.paging import Pages
from zkclient.picture import CacheChange
from zkclient.probing import status_of
from zkclient.recipes.barrier import Barrier
from zkclient.recipes.counter import Counter
from zkclient.recipes.discovery import Discovery, InstanceChanges, Instances, Registration
from zkclient.recipes.doublebarrier import DoubleBarrier
from zkclient.recipes.election import Election, Leaders
from zkclient.recipes.held import Held
from zkclient.recipes.instance import Instance
from zkclient.recipes.leaderlatch import LeaderLatch
from zkclient.recipes.lease import Lease
from zkclient.recipes.lock import Lock, RLock
from zkclient.recipes.partitioner import Partitioner
from zkclient.recipes.party import Party
from zkclient.recipes.queue import PriorityQueue, Queue
from zkclient.recipes.readwritelock import ReadLock, ReadWriteLock, WriteLock
from zkclient.recipes.semaphore import Semaphore
from zkclient.recipes.workqueue import Task, WorkQueue
from zkclient.results import ClientStatistics, NodeData, PartitionState, State
from zkclient.transaction import Transaction
from zkclient.watching import WatchStream

__all__ = [
    "AsyncZooKeeper",
    "ZooKeeper",
    "status_of",
    "State",
    "NodeData",
    "Transaction",
    "WatchStream",
    "DataWatch",
    "ChildrenWatch",
    "NodeCache",
    "ChildrenCache",
    "TreeCache",
    "CacheChange",
    "CacheChanges",
    "Partitioner",
    "PartitionState",
    "Discovery",
    "Instance",
    "Instances",
    "InstanceChanges",
    "Registration",
    "Pages",
    "ClientStatistics",
    "Lock",
    "RLock",
    "ReadWriteLock",
    "ReadLock",
    "WriteLock",
    "Semaphore",
    "Election",
    "Leaders",
    "LeaderLatch",
    "Lease",
    "Barrier",
    "DoubleBarrier",
    "Queue",
    "PriorityQueue",
    "WorkQueue",
    "Task",
    "Counter",
    "Party",
    "Held",
    "Acl",
    "Perms",
    "Identity",
    "OPEN_ACL",
    "READ_ACL",
    "CREATOR_ALL_ACL",
    "CreateMode",
    "EventType",
    "GetChildren",
    "GetData",
    "PageEntry",
    "Stat",
    "StatusReply",
    "WatchEvent",
]
__all__ += errors.__all__
