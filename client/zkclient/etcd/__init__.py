"""The service with the words of etcd's clients: put, get, delete, prefixes, leases, watches, transactions, locks.

    client = Client(host="localhost", port=2181)
    client.put("/config", "config.json")
    print(client.get("/config"))

Thin, over `ZooKeeper`, whose nodes the keys are. What is different from etcd:

- A key is a path. One without a slash in front gets it; `a//b` and a slash at the end are refused.
- Parents are made by themselves, and stay. They are keys too, with an empty value until one is set, and a key with
  others below it can't be deleted.
- The place of a revision is taken by the zxid.
- `get_prefix` reads page by page, not at one instant. There is no reading of the past.
- A lease is a session, which its process keeps: see `Lease`.
"""

from zkclient.etcd.client import Client
from zkclient.etcd.leases import Lease
from zkclient.etcd.values import (
    Comparison,
    Delete,
    Get,
    KeyValue,
    Operation,
    Property,
    Put,
    Response,
    Transactions,
)
from zkclient.etcd.watches import Events

__all__ = [
    "Client",
    "Comparison",
    "Delete",
    "Events",
    "Get",
    "KeyValue",
    "Lease",
    "Operation",
    "Property",
    "Put",
    "Response",
    "Transactions",
]
