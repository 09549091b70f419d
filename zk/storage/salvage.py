"""The operator's last resort: make a log that `open_store` refuses acceptable again, and say exactly what it cost."""

from collections.abc import Callable

from zk.broadcast.membership import Membership
from zk.model.record import ServerId, Zxid, record
from zk.storage.directory import Directory
from zk.storage.errors import Defect
from zk.storage.position import Position
from zk.storage.recovery import History, read_log
from zk.storage.store import DEFAULT_OPTIONS, Options, begin, nothing_to_salvage, refusals, remove_unfinished


@record
class Salvaged:
    """What was done. `last_zxid` is where the log ends now; `notes` say which files were set aside.

    `new_disk`: the server has a new disk uuid, so its ensemble has to take it in again before it votes.
    """

    defect: Defect
    records_kept: int
    last_zxid: Zxid
    new_disk: bool
    notes: tuple[str, ...]


def salvage(directory: Directory, make_uuid: Callable[[], str], options: Options = DEFAULT_OPTIONS) -> Salvaged | None:
    """Keep what is good before the damage, set the damaged files aside; None if the log is not damaged.

    What was written behind the damage is lost, acknowledged or not. Only a server that is known to be alone keeps its
    disk uuid: one of several must not vote with a log that lacks something. Raises StorageError.
    """
    with refusals(directory):
        remove_unfinished(directory)
        reading = read_log(directory)
        newest, history, defect = reading.newest, reading.history, reading.defect
        if defect is None:
            return None
        if newest is None:
            raise nothing_to_salvage(directory, defect)
        position = _end(history)
        alone = _is_alone(position.membership or newest.membership, newest.identity.server_id)
        disk_uuid = newest.disk_uuid if alone else make_uuid()
        store, notes = begin(directory, newest.identity, disk_uuid, options, reading)
        store.close()
    kept = 0 if history is None else len(history.records)
    return Salvaged(defect, kept, position.last_zxid, not alone, notes)


def _end(history: History | None) -> Position:
    if history is None:
        return Position()
    position = Position.at(history.segments[0].header)
    position.advance(history.records)
    return position


def _is_alone(membership: bytes, server_id: ServerId) -> bool:
    try:
        return Membership.decode(membership).configs == (frozenset((server_id,)),)
    except ValueError:  # the log was lost before it said who belongs to the ensemble
        return False
