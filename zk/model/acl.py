"""Access control lists: who may do what with one znode. There is no inheritance."""

from enum import IntFlag

from zk.model.record import record


class Perms(IntFlag):
    """What an ACL entry grants; the bits are ZooKeeper's."""

    READ = 1
    WRITE = 2
    CREATE = 4
    DELETE = 8
    ADMIN = 16
    ALL = 31


PERM_LETTERS = {"c": Perms.CREATE, "d": Perms.DELETE, "r": Perms.READ, "w": Perms.WRITE, "a": Perms.ADMIN}
"""How permissions are written, as ZooKeeper's tools do."""


def perms_text(perms: int) -> str:
    """The letters of these permissions."""
    return "".join(letter for letter, perm in PERM_LETTERS.items() if perms & perm)


def perms_from(letters: str) -> int:
    """The permissions that these letters stand for. KeyError if one of them stands for none."""
    perms = 0
    for letter in letters:
        perms |= PERM_LETTERS[letter]
    return perms


@record
class Identity:
    """Who a session is, by one scheme: ('world', 'anyone'), ('digest', 'user:base64'), ('ip', '127.0.0.1'), ('x509',
    subject), ('super', name)."""

    scheme: str
    id: str


@record
class Acl:
    """Grants `perms` (bits of Perms) to the identities that match (scheme, id). `ip` takes 'address/bits', `auth`
    stands for 'whoever I am'."""

    perms: int
    scheme: str
    id: str


ANYONE = Identity("world", "anyone")
OPEN_ACL: tuple[Acl, ...] = (Acl(int(Perms.ALL), "world", "anyone"),)
READ_ACL: tuple[Acl, ...] = (Acl(int(Perms.READ), "world", "anyone"),)
CREATOR_ALL_ACL: tuple[Acl, ...] = (Acl(int(Perms.ALL), "auth", ""),)
