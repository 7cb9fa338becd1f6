"""What the commands of `pinvault card` begin with: a server, a card, and PINs that are sealed.

Rules:
- PINs, PANs and control tokens are typed at a hidden prompt or, without a terminal, read from
  standard input, a line each. None is ever an argument: others on the host read those.
- A PIN is sealed here for its card, and only then sent. What is kept of it to be sent again is its
  envelope, in a file of its owner's alone.
"""

import os
import sys
from collections.abc import Callable
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click

from pinvault.client import CardNumber, ExternalId, SealedPin, Vault, connect
from pinvault.client.card_values import CardSelector

REQUIRED: Final = ("ca", "certificate", "private_key")
NEW, CURRENT, ANY = "New PIN", "Current PIN", "PIN"
"""How a PIN is asked for; a new one is typed twice."""

F = TypeVar("F", bound=Callable[..., Any])


class Line:
    """The connection of one command, made when it is needed. PINs go under `profile`."""

    def __init__(self, target: str | None, *, profile: str, **options: Any) -> None:
        self._target = target
        self._options = options
        self._profile = profile

    @cached_property
    def vault(self) -> Vault:
        """The server."""
        missing = [name for name in REQUIRED if self._options[name] is None]
        if self._target is None or missing:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in ("server", *REQUIRED))
            raise click.UsageError(f"give {names}, or PINVAULT_SERVER and so on")
        vault = connect(self._target, **self._options)
        click.get_current_context().call_on_close(vault.close)
        return vault

    def sealed(self, card_id: str, *wanted: str, kept: Path | None) -> list[SealedPin]:
        """Ask for PINs and seal them for a card; or take those of the file `kept`, if it is there.

        If it is not, it is written before anything is sent.
        """
        if kept is not None and kept.exists():
            envelopes = kept.read_bytes().splitlines()
            if len(envelopes) != len(wanted):
                raise click.ClickException(f"{kept} is of another command: name another file")
            return [SealedPin(profile=self._profile, ciphertext=each) for each in envelopes]
        sealed = [self._seal(asked(what, twice=what == NEW), card_id) for what in wanted]
        if kept is not None:
            _keep(kept, sealed)
        return sealed

    def card_id(self, card: CardSelector) -> str:
        """Give a card's id, which a sealed PIN names."""
        return card if isinstance(card, str) else self.vault.cards.get(card).card_id

    def _seal(self, pin: str, card_id: str) -> SealedPin:
        try:
            return self.vault.seal(pin, card=card_id, profile=self._profile)
        except ValueError as error:  # which does not repeat the PIN
            raise click.ClickException(str(error)) from None


def card_argument(command: F) -> F:
    """Take the card: its id, PROGRAM:EXTERNAL-ID, or `-` for a PAN that is asked for."""

    @click.argument("card", metavar="CARD")
    @click.option("--sequence-number", help="With -: the PAN sequence number, 2 or 3 digits.")
    @click.option("--program", help="With -: the program, of several that have the PAN.")
    @wraps(command)
    def with_card(
        *rest: Any, card: str, sequence_number: str | None, program: str | None, **options: Any
    ) -> Any:
        told_apart = {"sequence_number": sequence_number, "program": program}
        return command(*rest, card=_selected(card, **told_apart), **options)

    return cast("F", with_card)


request_id_option = click.option(
    "--request-id",
    metavar="ID",
    is_eager=True,
    help="Your name of the request, such as a UUID. The same request under the same id is done "
    "once, and repeated has the same answer, for 24 hours.",
)


def repeatable(command: F) -> F:
    """Take what a request with PINs is sent again by: its id, and the PINs as they were sealed."""
    kept = click.option(
        "--sealed",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=_with_id,
        help="With --request-id: keeps the sealed PINs in the file or, if it is there, sends those "
        "and asks for none. A PIN that is typed again is sealed anew, and makes another request.",
    )
    return request_id_option(kept(command))


def asked(what: str, *, twice: bool = False) -> str:
    """Have something typed that is not shown, twice where it is new; or read a line of input."""
    if not sys.stdin.isatty():
        typed = sys.stdin.readline().rstrip("\r\n")
        if not typed:
            raise click.ClickException(f"nothing to read: give the {what} on standard input")
        return typed
    return str(click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True))


def _selected(value: str, **told_apart: str | None) -> CardSelector:
    if value == "-":
        return CardNumber(pan=asked("PAN"), **told_apart)
    if any(told_apart.values()):
        raise click.UsageError("--sequence-number and --program go with a PAN: give - for the card")
    program, colon, external_id = value.partition(":")
    if colon:
        return ExternalId(program=program, external_id=external_id)
    if not value.startswith("card_"):
        raise click.UsageError("give card_…, PROGRAM:EXTERNAL-ID, or - to be asked for the PAN")
    return value


def _with_id(context: click.Context, _: click.Parameter, kept: Path | None) -> Path | None:
    if kept is not None and not context.params.get("request_id"):
        raise click.UsageError("--sealed is for what can be sent again: give a --request-id")
    return kept


def _keep(path: Path, sealed: list[SealedPin]) -> None:
    """Write envelopes, a line each, to a new file that nobody else reads."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.writelines(pin.ciphertext + b"\n" for pin in sealed)
