"""Jute as it stands in ZooKeeper's files: the wire's encoding, but for texts, which Java wrote."""

from zk.model.acl import Acl
from zk.model.errors import MarshallingError
from zk.wire.zookeeper.jute import Reader


class FileReader(Reader):
    """Reads the fields of a record in their order. MarshallingError if the bytes can't be what is asked for."""

    __slots__ = ()

    def take(self, count: int) -> bytes:
        """So many bytes as they are."""
        taken = self._data[self.at : self.at + count]
        self.at += count
        if len(taken) < count:
            raise MarshallingError("", f"the record ends at byte {self.at - count}, in the middle of a field")
        return taken

    def string(self) -> str:
        """A text. What is beyond U+FFFF was written as two surrogates with three bytes each, which is no UTF-8."""
        encoded = self.buffer()
        if encoded is None:
            return ""
        try:
            return encoded.decode()
        except UnicodeDecodeError:
            pass
        try:
            return encoded.decode(errors="surrogatepass").encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeError as error:
            raise MarshallingError("", f"the text at byte {self.at - len(encoded)} is not in UTF-8") from error

    def acl(self) -> tuple[Acl, ...]:
        return tuple(self.vector(lambda: Acl(self.int32(), self.string(), self.string()), 12) or ())
