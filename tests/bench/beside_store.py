"""Calls that need the store, beside their bare transactions, in turns and at several loads."""

from collections.abc import Callable, Mapping
from functools import partial

from tests.bench.cards import Place, alone
from tests.bench.load import Measured, Work, with_callers
from tests.bench.report import Column, Rounds, Row, Table

ROUNDS = 7
CALLS = 128
UNDER_WAY = (1, 16, 64)
MIDDLE = 16
ALONE = "its transactions alone"

Turn = Callable[[int], Measured]
"""One of what takes turns: makes CALLS calls, with so many under way."""


def calls(place: Place, *paths: str, about: Callable[[str], Work]) -> Turn:
    """Call a server: one work a card, which makes a call of each path."""
    works = [about(place.card(number)) for number in range(CALLS)]
    return lambda under_way: with_callers(place.server, paths, works, under_way=under_way)


def transactions(place: Place, about: Callable[[str], object]) -> Turn:
    """Do the transactions of such calls, and nothing else."""
    works = [partial(about, place.card(number)) for number in range(CALLS)]
    return lambda under_way: alone(works, under_way=under_way)


def table(title: str, turns: Mapping[str, Turn], *, unit: str, reading: str) -> Table:
    """Let all take turns. What is named `WHAT, ENGINE` stands beside `ALONE, ENGINE`."""
    cpu, rate = Rounds(), Rounds()
    for number in range(ROUNDS + 1):
        found = (cpu, rate) if number else (Rounds(), Rounds())  # the first round warms up
        for under_way in UNDER_WAY:
            for name, turn in turns.items():
                measured = turn(under_way)
                found[0].add(_key(name, under_way), measured.cpu_us)
                found[1].add(_key(name, under_way), measured.rate)

    def values(name: str) -> tuple[float | None, ...]:
        own = _key(name, MIDDLE)
        base = _key(f"{ALONE}, {name.rpartition(', ')[2]}", MIDDLE)
        has_base = base in rate.found
        return (
            *(rate.median(_key(name, under_way)) for under_way in UNDER_WAY),
            rate.ratio(own, base) if has_base else None,
            cpu.median(own),
            cpu.ratio(own, base) if has_base else None,
        )

    return Table(
        title=title,
        columns=(
            *(Column(f"{unit}/s, {under_way} under way") for under_way in UNDER_WAY),
            Column("rate x alone", 2),
            Column("CPU us each"),
            Column("CPU x alone", 1),
        ),
        rows=[Row(name, values(name)) for name in turns],
        reading=reading,
        conditions=(
            f"{CALLS} a round, each about another card than all others under way; median of "
            f"{ROUNDS} rounds in turns, CPU time and ratios with {MIDDLE} under way; every call "
            "checked to be OK and every commit synced. CPU time is the server's process's, or that "
            "of the threads which do the transactions, on one core; not PostgreSQL's. SoftHSM; "
            "TLS is left out, and the client is Python on the same machine."
        ),
    )


def _key(name: str, under_way: int) -> str:
    return f"{name}, {under_way}"
