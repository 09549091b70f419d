"""SASL's DIGEST-MD5, the server's end, without I/O: a challenge goes out, one response comes in, its proof goes back.

It proves that the client knows a user's password, without sending it. Only what ZooKeeper's clients use of it: one
realm, authentication alone. Source: RFC 2831.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping

from zk.model.errors import AuthFailedError
from zk.model.record import record

REALM = "zk-sasl-md5"
URI = f"zookeeper/{REALM}"  # what is authenticated for, as clients name it
NONCE_BYTES = 30

_DIRECTIVE = re.compile(r'[\s,]*([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*(?:,|$)', re.ASCII | re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_FIRST_USE = "00000001"  # of a nonce, which is the only one


@record
class Proved:
    """The client is `user`; `token` proves to it that the server knows the password too."""

    user: str
    token: bytes


class DigestMd5:
    """One exchange. `nonce` is text that was never used before, `users` has passwords by name.

    All that can be wrong with a response is answered alike: whether a name is known is nobody's business.
    """

    def __init__(self, nonce: str, users: Mapping[str, str]) -> None:
        self._nonce = nonce
        self._users = users
        self._over = False

    @property
    def challenge(self) -> bytes:
        return f'realm="{REALM}",nonce="{self._nonce}",charset=utf-8,algorithm=md5-sess'.encode()

    def accept(self, response: bytes) -> Proved:
        """Take the response to the challenge, once. AuthFailedError if it proves nothing."""
        try:
            return self._check(_directives(response))
        except ValueError as error:
            raise AuthFailedError(hint="DIGEST-MD5: the response does not prove a user's password") from error

    def _check(self, said: Mapping[str, str]) -> Proved:
        """ValueError if anything is wrong."""
        if self._over:
            raise ValueError("the exchange is over")
        self._over = True
        expected = {"realm": REALM, "nonce": self._nonce, "nc": _FIRST_USE, "qop": "auth"}
        if {name: said.get(name, "auth" if name == "qop" else "") for name in expected} != expected:
            raise ValueError("not a response to this challenge")
        uri, cnonce, authzid = said.get("digest-uri", ""), said.get("cnonce", ""), said.get("authzid", "")
        if uri.lower() != URI or not cnonce:
            raise ValueError("not a response for this service")
        user = said.get("username", "")
        password = self._users.get(user, "")
        key = session_key(user, REALM, password, self._nonce, cnonce, authzid)
        proof = proof_of(key, self._nonce, _FIRST_USE, cnonce, f"AUTHENTICATE:{uri}")
        if not hmac.compare_digest(proof.encode(), said.get("response", "").encode()) or user not in self._users:
            raise ValueError("another password")
        return Proved(user, f"rspauth={proof_of(key, self._nonce, _FIRST_USE, cnonce, f':{uri}')}".encode())


def session_key(user: str, realm: str, password: str, nonce: str, cnonce: str, authzid: str = "") -> str:
    """H(A1) in hexadecimal, of RFC 2831, 2.1.2.1."""
    secret = _md5(b":".join(map(_hashed_form, (user, realm, password)))).digest()
    of_session = f":{nonce}:{cnonce}" + (f":{authzid}" if authzid else "")
    return _md5(secret + of_session.encode()).hexdigest()


def proof_of(key: str, nonce: str, count: str, cnonce: str, what: str) -> str:
    """The response-value of RFC 2831, 2.1.2.1, where `what` is A2."""
    return _md5(f"{key}:{nonce}:{count}:{cnonce}:auth:{_md5(what.encode()).hexdigest()}".encode()).hexdigest()


def _md5(data: bytes) -> "hashlib._Hash":
    return hashlib.md5(data, usedforsecurity=False)  # the mechanism's own choice


def _hashed_form(text: str) -> bytes:
    """ISO 8859-1 where that can express it, UTF-8 otherwise. Source: RFC 2831, 2.1.2.1."""
    try:
        return text.encode("iso-8859-1")
    except UnicodeEncodeError:
        return text.encode()


def _directives(response: bytes) -> dict[str, str]:
    """What is said, by name. ValueError if it is malformed, or says something twice."""
    found: dict[str, str] = {}
    text = response.decode("iso-8859-1")
    at = 0
    while at < len(text):
        match = _DIRECTIVE.match(text, at)
        if match is None or match[1].lower() in found:
            raise ValueError(f"malformed at {at}")
        name, quoted, plain = match.groups()
        found[name.lower()] = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
        at = match.end()
    charset = found.get("charset")
    if charset is None:
        return found
    if charset.lower() != "utf-8":
        raise ValueError("an unknown charset")
    return {name: value.encode("iso-8859-1").decode() for name, value in found.items()}
