"""Does a PKCS#11 module do what the service needs? Every need is tried, and each has a verdict.

Rules:
- The trials run in a process of their own. One that crashes or hangs there is a verdict, and the
  next process goes on after it.
- Nothing is kept on the token: see `hsm.qualify_bench`.
- A login that was refused is never tried again.
"""

import os
import resource
import signal
from collections.abc import Callable
from enum import IntEnum
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final, TypeVar

from pkcs11.exceptions import PKCS11Error

from hsm import qualify_life, qualify_pairs, qualify_refusals, qualify_uses
from hsm.errors import HsmError
from hsm.module import Library
from hsm.qualify_bench import Bench, Need, Row, Suitability, Trial, name_of
from hsm.token import TokenLocation

MadeT = TypeVar("MadeT")

TRIALS: Final[tuple[Trial, ...]] = (
    *qualify_refusals.TEMPLATES,
    *qualify_uses.TRIALS,
    *qualify_pairs.TRIALS,
    *qualify_refusals.DENIALS,
    *qualify_life.LIFE,
    *qualify_life.TIMES,
    *qualify_life.THREADS,
)
"""Every trial, in the order of the report."""

_MODULE: Final = Need(
    name="the module loads",
    call="C_Initialize",
    lost="everything",
    remedy="check the path, the machine it is for, and the module's own configuration file",
    vital=True,
)
_LOGIN: Final = Need(
    name="the token lets in",
    call="C_OpenSession, C_Login",
    lost="everything",
    remedy="check label, serial number and PIN file; nothing tries a second time",
    vital=True,
)


class Conclusion(IntEnum):
    """What all verdicts come to; the value is the exit code."""

    QUALIFIED = 0
    WITH_LIMITS = 1
    NOT_QUALIFIED = 2

    @property
    def text(self) -> str:
        """The last line of the report."""
        return ("qualified", "qualified with limits", "not qualified")[self]


def conclude(rows: tuple[Row, ...]) -> Conclusion:
    """The worst verdict decides."""
    verdicts = {row.verdict for row in rows}
    if Suitability.UNUSABLE in verdicts:
        return Conclusion.NOT_QUALIFIED
    return Conclusion.WITH_LIMITS if Suitability.LIMITED in verdicts else Conclusion.QUALIFIED


def qualify(location: TokenLocation) -> tuple[Row, ...]:
    """Try every need on the token; the rows of the report."""
    rows: list[Row] = []
    while not _go_on(location, rows):
        pass
    return tuple(rows)


def _go_on(location: TokenLocation, rows: list[Row]) -> bool:
    """Add the rows that one process gives, and how it ended if badly; whether that is all."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    told = tuple(row.need for row in rows)
    child = context.Process(target=_serve, args=(theirs, location, told), daemon=True)
    child.start()
    theirs.close()
    need = _MODULE
    try:
        while ours.poll(need.patience):
            match ours.recv():
                case Need() as need:
                    continue
                case Row() as row:
                    rows.append(row)
                case _:
                    return True
        found = f"no answer in {need.patience:g} s"
    except EOFError:
        child.join()
        found = _ending(child.exitcode or 0)
    finally:
        child.kill()
        ours.close()
    verdict = Suitability.GOOD if need.only_told else Suitability.UNUSABLE
    rows.append(Row.of(need, verdict, found))
    return need in (_MODULE, _LOGIN)


def _ending(code: int) -> str:
    return f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"


def _serve(connection: Connection, location: TokenLocation, told: tuple[str, ...]) -> None:
    """What the child does: every trial that is not told yet, each announced and then reported."""
    _be_quiet()
    library = _open(connection, _MODULE, told, lambda: Library.load(location.module), _describe)
    if library is not None:
        bench = _open(connection, _LOGIN, told, lambda: Bench(library, location), _greet)
        if bench is not None:
            for trial in TRIALS:
                if trial.need.name not in told:
                    connection.send(trial.need)
                    connection.send(bench.examine(trial))
    connection.send(None)


def _be_quiet() -> None:
    """No core file with what was in memory, and no word of the module's on the report."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def _open(
    connection: Connection,
    need: Need,
    told: tuple[str, ...],
    make: Callable[[], MadeT],
    describe: Callable[[MadeT], str],
) -> MadeT | None:
    """The library or the bench; None, and a row that says why, when there is none."""
    connection.send(need)
    try:
        made = make()
    except HsmError as error:
        found = error.problem
    except PKCS11Error as error:
        found = name_of(error)
    else:
        if need.name not in told:
            connection.send(Row.of(need, Suitability.GOOD, describe(made)))
        return made
    connection.send(Row.short(need, found))
    return None


def _describe(library: Library) -> str:
    return f"{library.description} {library.version}, PKCS#11 {library.cryptoki_version}"


def _greet(bench: Bench) -> str:
    return f"objects of the token: {bench.kept_objects()}"
