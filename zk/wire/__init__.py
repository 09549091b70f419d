"""Bytes to values and back, without I/O: native (clients), peer (servers), txn (the log's payloads), snapshot. Faces
only translate."""
