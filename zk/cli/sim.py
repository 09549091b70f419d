"""`zk sim`: its options. What it does is in campaign.py, imported with the simulator only where it is needed."""

from typing import Annotated, Literal

import typer

Numbers = frozenset[int]


def _numbers(text: str) -> Numbers:
    """Numbers and ranges: 3,5-9; or none."""
    numbers: set[int] = set()
    for part in text.split(",") if text != "none" else ():
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise typer.BadParameter(f"{text!r} is no list of numbers and ranges, as in 3,5-9, nor 'none'")
        numbers.update(range(int(first), int(last if dash else first) + 1))
    return frozenset(numbers)


def sim(
    seeds: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="How many. Default: 100; of a plant, its budget; of a shortened run, 1."),
    ] = None,
    start: Annotated[int, typer.Option(min=0, metavar="SEED", help="The first one.")] = 0,
    servers: Annotated[
        int | None, typer.Option(min=1, max=7, metavar="1|3|5|7", help="How many servers; else it varies by seed.")
    ] = None,
    mode: Annotated[
        Literal["uniform", "focused"] | None,
        typer.Option(help="When faults strike: at any time, or mostly behind changes of role; else it varies by seed."),
    ] = None,
    layer: Annotated[
        Literal["service", "broadcast"] | None,
        typer.Option(help="Whole servers with clients, or the bare ordered log; else it varies by seed."),
    ] = None,
    plant: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Plant this bug, which must be found. What is not given is as it is listed."),
    ] = None,
    list_plants: Annotated[bool, typer.Option("--list-plants", help="List the bugs that can be planted.")] = False,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="How many processes share the work.")] = 2,
    trace: Annotated[bool, typer.Option("--trace", help="Print a line for every event.")] = False,
    digest: Annotated[
        bool, typer.Option("--digest", help="Print after each seed a hash of all events so far, and no speed.")
    ] = False,
    only_faults: Annotated[
        Numbers | None, typer.Option(parser=_numbers, metavar="3,5-9|none", help="Leave out all other faults.")
    ] = None,
    only_wishes: Annotated[
        Numbers | None,
        typer.Option(parser=_numbers, metavar="3,5-9|none", help="Leave out all other operations of clients."),
    ] = None,
    war_ms: Annotated[
        int | None, typer.Option(min=0, metavar="MS", help="Faults strike for so long. Default: as the mode has it.")
    ] = None,
    nature: Annotated[
        int, typer.Option(min=0, metavar="N", help="Other delays and the like, for the same faults and operations.")
    ] = 0,
) -> int:
    """Prove the service on a simulated ensemble: every run has its own faults, and checks every promise at every step.

    A seed determines a run to the last byte. What is not given varies from seed to seed in a fixed way. Exit code 0 if
    all promises hold; else 1, with the shortest run that was found to break one, and the command that replays it.
    """
    from zk.cli import campaign
    from zk.sim.plan import Layer, Mode

    if list_plants:
        return campaign.list_plants()
    if servers not in (None, 1, 3, 5, 7):
        raise typer.BadParameter(f"{servers} is not one of 1, 3, 5, 7", param_hint="'--servers'")
    order = campaign.Order(
        start=start,
        seeds=seeds,
        servers=servers,
        mode=Mode(mode) if mode is not None else None,
        layer=Layer(layer) if layer is not None else None,
        only_faults=only_faults,
        only_wishes=only_wishes,
        war_ms=war_ms,
        nature=nature,
    )
    if order.shortened and seeds not in (None, 1):
        raise typer.BadParameter("a run is shortened by itself: with --only-… or --war-ms, --seeds is 1")
    return campaign.run(order, plant, jobs, trace=trace, digest=digest)
