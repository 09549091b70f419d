"""The subject of an X.509 certificate as ZooKeeper writes it: a string of RFC 2253, the last name first.

Takes just so much of DER apart as lies before the subject. The certificates come from a TLS handshake, which has
parsed and verified them before.
"""

from collections.abc import Iterator

_KEYWORDS = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
}  # all that RFC 2253 has; other attributes are written as numbers, with their values in hex
_ENCODINGS = {12: "utf-8", 19: "ascii", 20: "latin-1", 22: "ascii", 28: "utf-32-be", 30: "utf-16-be"}  # by string type
_ESCAPED = frozenset(',=+<>#;"\\')
_SEQUENCE_OF_VERSION = 0xA0  # the optional first field of a certificate


def subject(certificate: bytes) -> str:
    """The subject of a DER certificate: 'CN=client,OU=tests,O=Example'."""
    [(_, outer)] = _items(certificate)
    _, signed = next(_items(outer))
    fields = [value for tag, value in _items(signed) if tag != _SEQUENCE_OF_VERSION]
    names = [content for _, content in _items(fields[4])]  # after serial number, algorithm, issuer, validity
    return ",".join("+".join(_pair(*_items(pair)) for _, pair in _items(name)) for name in reversed(names))


def _pair(attribute: tuple[int, bytes], value: tuple[int, bytes]) -> str:
    """One attribute and its value."""
    number = _object_identifier(attribute[1])
    tag, content = value
    if number in _KEYWORDS and tag in _ENCODINGS:
        return f"{_KEYWORDS[number]}={_escaped(content.decode(_ENCODINGS[tag], 'replace'))}"
    return f"{_KEYWORDS.get(number, number)}=#{_encoded(tag, content).hex()}"


def _escaped(text: str) -> str:
    core = text.strip(" ")
    if not core:
        return "\\ " * len(text)
    leading, trailing = text.index(core), len(text) - text.index(core) - len(core)
    written = "".join(f"\\{char}" if char in _ESCAPED else "\\00" if char == "\0" else char for char in core)
    return "\\ " * leading + written + "\\ " * trailing


# ---- DER


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and content of each value that stands in `content`."""
    at = 0
    while at < len(content):
        tag, length = content[at], content[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(content[at : at + size], "big")
            at += size
        yield tag, content[at : at + length]
        at += length


def _encoded(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def _object_identifier(content: bytes) -> str:
    numbers = [0]
    for byte in content:
        numbers[-1] = numbers[-1] << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(0)
    first, *others = numbers[:-1]
    arc = min(first // 40, 2)
    return ".".join(map(str, (arc, first - 40 * arc, *others)))
