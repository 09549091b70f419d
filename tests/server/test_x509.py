"""A certificate's subject is written as Java writes it, and with it ZooKeeper: the expected texts here are what
`X509Certificate.getSubjectX500Principal().getName()` gave for the same certificates."""

from datetime import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import NameAttribute, RelativeDistinguishedName
from cryptography.x509.oid import NameOID, ObjectIdentifier

from zk.server.x509 import subject

Pair = tuple[ObjectIdentifier, str]


def certificate(*names: list[Pair]) -> bytes:
    """A certificate for the subject of these names, each of one or more attributes."""
    key = ec.generate_private_key(ec.SECP256R1())
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([RelativeDistinguishedName([NameAttribute(*pair) for pair in name]) for name in names]))
        .issuer_name(x509.Name([NameAttribute(NameOID.COMMON_NAME, "tests")]))
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(datetime(2026, 1, 1))
        .not_valid_after(datetime(2036, 1, 1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            [
                [(NameOID.COUNTRY_NAME, "DE")],
                [(NameOID.ORGANIZATION_NAME, "Example")],
                [(NameOID.COMMON_NAME, "client")],
            ],
            "CN=client,O=Example,C=DE",
        ),
        (
            [[(NameOID.DOMAIN_COMPONENT, "com")], [(NameOID.DOMAIN_COMPONENT, "example")], [(NameOID.USER_ID, "joe")]],
            "UID=joe,DC=example,DC=com",
        ),
        (
            [
                [(NameOID.STATE_OR_PROVINCE_NAME, "S中")],
                [(NameOID.LOCALITY_NAME, "L")],
                [(NameOID.STREET_ADDRESS, "s 1")],
            ],
            "STREET=s 1,L=L,ST=S中",
        ),
        (
            [[(NameOID.ORGANIZATION_NAME, "Example, Inc.")], [(NameOID.ORGANIZATIONAL_UNIT_NAME, "a+b=c")]],
            "OU=a\\+b\\=c,O=Example\\, Inc.",
        ),
        ([[(NameOID.COMMON_NAME, 'Jörg "x" <y>;\\')]], 'CN=Jörg \\"x\\" \\<y\\>\\;\\\\'),
        ([[(NameOID.ORGANIZATION_NAME, " lead  mid  ")]], "O=\\ lead  mid\\ \\ "),
        ([[(NameOID.COMMON_NAME, "#hash")], [(NameOID.COMMON_NAME, " ")]], "CN=\\ ,CN=\\#hash"),
        ([[(NameOID.EMAIL_ADDRESS, "a@b.c")]], "1.2.840.113549.1.9.1=#16056140622e63"),
        ([[(NameOID.SERIAL_NUMBER, "77")]], "2.5.4.5=#13023737"),
        (
            [[(NameOID.COMMON_NAME, "multi"), (NameOID.USER_ID, "u1"), (NameOID.ORGANIZATION_NAME, "o")]],
            "O=o+CN=multi+UID=u1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_subject_is_written_as_java_does(names: list[list[Pair]], expected: str) -> None:
    assert subject(certificate(*names)) == expected


def test_a_long_value_in_hex_has_its_length_in_two_bytes() -> None:
    pseudonym = [(NameOID.PSEUDONYM, "ü" * 100)]
    assert subject(certificate(pseudonym)) == "2.5.4.65=#0c81c8" + ("ü" * 100).encode().hex()
