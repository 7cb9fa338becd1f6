"""What the commands that change keys share: the custody, its record, options and questions.

Rules:
- Every act is recorded before it is told, whether it was done or refused.
- Whoever ends a key says which: its check value is typed, or given by a program.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from pinvault import bootstrap
from pinvault.bootstrap import CustodyLog
from pinvault.cli.common import show
from pinvault.config import Loaded, RunMode, load
from pinvault.model.custody import WantedKey
from pinvault.model.errors import Refusal
from pinvault.model.keys import Algorithm, Key, Mode, Usage
from pinvault.operations.custody import Custody
from pinvault.server.hardening import weaknesses

TIMEOUT_S = 30.0
"""What the token may take for one change; it makes an RSA key pair in seconds."""

F = TypeVar("F", bound=Callable[..., Any])
ResultT = TypeVar("ResultT")


class NotDone(click.ClickException):
    """Nothing was done; the text says why and what to do."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Tell it as every other fault is told."""
        click.echo(f"pinvault: {self.format_message()}", file=file, err=file is None)


@dataclass(frozen=True, slots=True)
class KeyDesk:
    """The custody of one command, opened for its length."""

    loaded: Loaded
    custody: Custody
    log: CustodyLog

    def act(
        self,
        method: str,
        work: Callable[[], ResultT],
        keys: Callable[[ResultT], Sequence[Key]],
        *,
        about: Sequence[Key] = (),
    ) -> ResultT:
        """Do something to keys, and record what became of it; `about` are keys that are there."""
        try:
            done = work()
        except Refusal as refusal:
            self.log.record(method, refusal.reason.value, keys=about)
            raise
        self.log.record(method, "OK", keys=keys(done))
        return done

    def find(self, reference: str) -> Key:
        """Give the key of a NAME or NAME/VERSION."""
        return self.custody.directory().find(reference, field="key")


@contextmanager
def key_desk(config_file: Path, *, makes: str | None = None) -> Iterator[KeyDesk]:
    """Open the custody that a configuration describes; `makes` names a key that gets a version."""
    loaded = load(config_file.absolute())
    with bootstrap.open_custody(loaded, makes=makes) as (custody, log):
        missing = weaknesses() if loaded.config.mode is RunMode.PRODUCTION else []
        if missing:
            raise NotDone("production mode refuses to touch keys: " + "; ".join(missing))
        yield KeyDesk(loaded, custody, log)


def day_option(name: str, text: str) -> Callable[[F], F]:
    """Take a UTC day, such as 2027-12-31."""
    return click.option(name, type=click.DateTime(["%Y-%m-%d"]), callback=_day, help=text)


def attribute_options(command: F) -> F:
    """Take what a key shall be; needed for a name that is new and not awaited."""
    for option in (
        day_option("--previous-until", "The last day on which the version before deciphers."),
        day_option("--valid-until", "The last day on which the key is valid."),
        click.option("--destroyable", is_flag=True, help="May be destroyed once it is retired."),
        click.option("--jwa", help="RSA-OAEP, RSA-OAEP-256 or RSA1_5, for an RSA key that opens."),
        click.option("--mode", type=_words(Mode), help="X9.143 mode of use."),
        click.option("--algorithm", type=_words(Algorithm), help="Algorithm and size."),
        click.option("--usage", type=_words(Usage), help="X9.143 key usage."),
    ):
        command = option(command)
    return command


def _words(words: type[StrEnum]) -> click.Choice[str]:
    return click.Choice([word.value for word in words])


def wanted_key(
    custody: Custody,
    name: str,
    *,
    usage: str | None,
    algorithm: str | None,
    mode: str | None,
    jwa: str | None,
    destroyable: bool,
    valid_until: date | None,
) -> WantedKey:
    """Give what a key shall be: as the options say, or as the ring and the configuration do."""
    if not (usage and algorithm and mode):
        if usage or algorithm or mode or jwa or destroyable:
            text = "--usage, --algorithm and --mode go together; a known name needs none of them"
            raise click.UsageError(text)
        try:
            return custody.wanted(name, valid_until=valid_until)
        except Refusal:
            text = "is neither in the key ring nor awaited: say --usage, --algorithm and --mode"
            raise NotDone(f"{name} {text}") from None
    return WantedKey(
        name=name,
        usage=Usage(usage),
        algorithm=Algorithm(algorithm),
        mode=Mode(mode),
        valid_until=valid_until,
        destroyable=destroyable,
        jwa=jwa,
    )


def require_check_value(key: Key, given: str | None, *, to: str) -> None:
    """Have the check value of the key typed that is to be changed for good; or nothing happens."""
    if given is None and not sys.stdin.isatty():
        raise NotDone(f"give --check-value, the one of {key.id}, to {to} it")
    typed = given or click.prompt(f"Type the check value of {key.id} to {to} it", err=True)
    if typed.strip().upper() != key.check_value:
        raise NotDone(f"this is not the check value of {key.id}: nothing was done")


def tell(done: str, *keys: Key, as_json: bool) -> None:
    """Say what was done, and how the keys are now."""
    rows = [(key.id, key.check_value, key.state.value) for key in keys]
    show(done, ("Key", "Check value", "State"), rows, as_json=as_json)


def _day(_context: click.Context, _option: click.Parameter, value: datetime | None) -> date | None:
    return value.date() if value else None
