"""Rules of access: which ACLs are well-formed, what they grant to whom, and how identities are made and shown.

Pure functions; who holds which identity is the session's business (zk/tree/sessions.py).
"""

import base64
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache

from zk.model.acl import OPEN_ACL, Acl, Identity, Perms
from zk.model.errors import InvalidACLError

PERMS_ALL = int(Perms.ALL)
_EXPANDABLE = frozenset({"digest", "x509", "sasl"})  # what 'auth' stands for; an address is not an authentication
_PRINCIPAL = re.compile(r"[^@]*|[^/@]*(/[^/@]*)?@[^/@]*")  # a plain name, or a Kerberos one: name/host@REALM


def fix_acl(path: str, acl: tuple[Acl, ...], identities: Sequence[Identity]) -> tuple[Acl, ...]:
    """The ACL to store: 'auth' expanded to the caller's identities, duplicates dropped. InvalidACLError (-114) if it
    is malformed or grants nothing to anyone."""
    if acl is OPEN_ACL:
        return acl
    fixed: dict[Acl, None] = {}  # an ordered set
    for entry in acl:
        if not 0 <= entry.perms <= PERMS_ALL:
            raise InvalidACLError(path, f"permissions {entry.perms} are not within 0..{PERMS_ALL}")
        if entry.scheme == "auth":
            mine = [Acl(entry.perms, who.scheme, who.id) for who in identities if who.scheme in _EXPANDABLE]
            if not mine:
                raise InvalidACLError(path, "the scheme 'auth' stands for your identities, and you have none: add one")
            fixed.update(dict.fromkeys(mine))
        else:
            _validate_id(path, entry)
            fixed[entry] = None
    if not fixed:
        raise InvalidACLError(path, "an ACL must not be empty")
    return tuple(fixed)


def _validate_id(path: str, entry: Acl) -> None:
    match entry.scheme:
        case "world":
            valid = entry.id == "anyone"
        case "digest":
            parts = entry.id.rstrip(":").split(":")  # ZooKeeper counts no empty parts at the end
            valid = len(parts) == 2
        case "ip":
            valid = _network(entry.id) is not None
        case "x509":
            valid = bool(entry.id)
        case "sasl":
            valid = _PRINCIPAL.fullmatch(entry.id) is not None
        case _:
            raise InvalidACLError(path, f"unknown scheme {entry.scheme!r}: use world, auth, digest, ip, x509 or sasl")
    if not valid:
        raise InvalidACLError(path, f"{entry.id!r} is not an id of the scheme {entry.scheme!r}")


def permitted(acl: tuple[Acl, ...], perms: int, identities: Sequence[Identity]) -> bool:
    """Whether `acl` grants any of the bits in `perms` to a caller with these identities."""
    if acl is OPEN_ACL:
        return True
    for entry in acl:
        if entry.perms & perms:
            if entry.scheme == "world":
                return True
            for who in identities:
                if who.scheme == entry.scheme and _matches(entry, who):
                    return True
    return any(who.scheme == "super" for who in identities)


def _matches(entry: Acl, who: Identity) -> bool:
    if entry.scheme == "ip":
        network = _network(entry.id)
        address = _address(who.id)
        return network is not None and address is not None and address in network
    return hmac.compare_digest(entry.id.encode(errors="surrogatepass"), who.id.encode(errors="surrogatepass"))


@lru_cache(maxsize=4096)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """'address' or 'address/bits' as a network; None if it is neither."""
    _, slash, bits = text.partition("/")
    if slash and not bits.isdecimal():
        return None  # a mask in full is understood by Python, but by no ZooKeeper
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address; an IPv4 address in its IPv6 dress (a dual-stack socket shows it so) counts as IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def digest_identity(credential: bytes) -> Identity:
    """The identity that b'user:password' proves: 'user:' + base64(sha1(user:password)), as ZooKeeper writes it.

    As there, any credential proves some identity; and bytes that are no text count as U+FFFD.
    """
    text = credential.decode(errors="replace")
    hashed = base64.b64encode(hashlib.sha1(text.encode(), usedforsecurity=False).digest()).decode()
    return Identity("digest", f"{text.partition(':')[0]}:{hashed}")


def masked(acl: tuple[Acl, ...]) -> tuple[Acl, ...]:
    """The ACL as shown to those who may not administer the node: a digest's hash is hidden."""
    return tuple(
        Acl(entry.perms, entry.scheme, entry.id.partition(":")[0] + ":x") if entry.scheme == "digest" else entry
        for entry in acl
    )
