"""What is found, and what transactions are made of."""

from typing import TYPE_CHECKING, Literal, TypeVar, assert_never

from zk.model.record import record
from zkclient.results import NodeData
from zkclient.transaction import to_bytes

if TYPE_CHECKING:
    from zkclient.etcd.leases import Lease

Relation = Literal["==", "!=", "<", ">"]
C = TypeVar("C", int, bytes)


class KeyValue(NodeData):
    """What `get` found: prints as text, unpacks as `value, stat`, and has etcd's words for what the stat says."""

    @property
    def value(self) -> bytes:
        return self.data

    @property
    def version(self) -> int:
        """How often the key was put; it starts anew when the key gets a lease, another one, or none."""
        return self.stat.version + 1

    @property
    def create_revision(self) -> int:
        """The zxid of the put that made the key."""
        return self.stat.czxid

    @property
    def mod_revision(self) -> int:
        """The zxid of the last put."""
        return self.stat.mzxid

    @property
    def lease_id(self) -> int:
        """The `id` of its lease; 0: none."""
        return self.stat.ephemeral_owner


@record
class Put:
    """In a transaction: `key` gets `value`, and this lease, or none."""

    key: str
    value: str | bytes
    lease: "Lease | None" = None


@record
class Get:
    """In a transaction: its response is what `Client.get` gives, at the instant of the comparisons."""

    key: str


@record
class Delete:
    """In a transaction: `key` goes, if it is there. Its response tells whether it was."""

    key: str


Operation = Put | Get | Delete
Response = KeyValue | bool | None


@record
class Comparison:
    """Whether a property of a key is in a relation to a value. Of a missing key the numbers are 0, and its value is
    unequal to everything."""

    key: str
    property: Literal["value", "version", "create", "mod"]
    relation: Relation
    than: int | bytes

    def holds(self, found: KeyValue | None) -> bool:
        """Whether it holds for what was found."""
        if isinstance(self.than, bytes):
            return (self.relation == "!=") if found is None else _compare(found.value, self.relation, self.than)
        return _compare(0 if found is None else self._number(found), self.relation, self.than)

    def _number(self, found: KeyValue) -> int:
        match self.property:
            case "version":
                return found.version
            case "create":
                return found.create_revision
            case "mod":
                return found.mod_revision
            case "value":
                raise AssertionError("a value is bytes")
            case _:
                assert_never(self.property)


class Property:
    """A property of a key, to be compared: `==`, `!=`, `<` and `>` give a Comparison."""

    def __init__(self, key: str, name: Literal["value", "version", "create", "mod"]) -> None:
        self._key = key
        self._name: Literal["value", "version", "create", "mod"] = name

    def __eq__(self, than: int | str | bytes) -> Comparison:  # type: ignore[override]  # python-etcd3's way to say it
        return self._compared("==", than)

    def __ne__(self, than: int | str | bytes) -> Comparison:  # type: ignore[override]  # as above
        return self._compared("!=", than)

    def __lt__(self, than: int | str | bytes) -> Comparison:
        return self._compared("<", than)

    def __gt__(self, than: int | str | bytes) -> Comparison:
        return self._compared(">", than)

    def _compared(self, relation: Relation, than: int | str | bytes) -> Comparison:
        if isinstance(than, int) == (self._name == "value"):
            wanted = "text or bytes" if self._name == "value" else "a number"
            raise TypeError(f"the {self._name} of {self._key} is compared with {wanted}, not with {than!r}")
        return Comparison(self._key, self._name, relation, than if isinstance(than, int) else to_bytes(than))


class Transactions:
    """What `Client.transaction` is told: comparisons, as `transactions.version(key) == 0`, and operations."""

    def value(self, key: str) -> Property:
        """Its value: text, stored as UTF-8, or bytes. That of a missing key is unequal to everything."""
        return Property(key, "value")

    def version(self, key: str) -> Property:
        """How often it was put; 0: there is no such key."""
        return Property(key, "version")

    def create(self, key: str) -> Property:
        """The zxid of the put that made it; 0: there is no such key."""
        return Property(key, "create")

    def mod(self, key: str) -> Property:
        """The zxid of the last put; 0: there is no such key."""
        return Property(key, "mod")

    def put(self, key: str, value: str | bytes, lease: "Lease | None" = None) -> Put:
        """As `Client.put`."""
        return Put(key, value, lease)

    def get(self, key: str) -> Get:
        """As `Client.get`."""
        return Get(key)

    def delete(self, key: str) -> Delete:
        """Of a key that may be missing."""
        return Delete(key)


def _compare(one: C, relation: Relation, other: C) -> bool:
    match relation:
        case "==":
            return one == other
        case "!=":
            return one != other
        case "<":
            return one < other
        case ">":
            return one > other
        case _:
            assert_never(relation)
