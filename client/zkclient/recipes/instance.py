"""What is told of an instance of a service: the record, and the JSON object in its node."""

import json
from collections.abc import Mapping
from typing import Self

from zk.model.record import record


@record
class Instance:
    """Where an instance of the service `name` is to be reached. `id` tells it from the other ones."""

    name: str
    id: str
    address: str
    port: int
    metadata: Mapping[str, str]

    def to_json(self) -> bytes:
        """A JSON object with these five fields."""
        fields = {"name": self.name, "id": self.id, "address": self.address, "port": self.port}
        return json.dumps({**fields, "metadata": dict(self.metadata)}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """The inverse of `to_json`. Raises ValueError."""
        fields = json.loads(data)
        try:
            metadata = {str(key): str(value) for key, value in fields["metadata"].items()}
            return cls(str(fields["name"]), str(fields["id"]), str(fields["address"]), int(fields["port"]), metadata)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"this is not an instance of a service: {error!r}") from error
