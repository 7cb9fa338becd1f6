"""`pinvault card`: the cards whose PINs a server keeps, as a client of it.

Rules:
- A PIN that is revealed is shown on a terminal alone, unless it is asked for otherwise.
- Tokens and the secrets of sessions are printed as the answer, once, and are written nowhere.
"""

import sys
from pathlib import Path
from typing import Any, Final, get_args

import click

from pinvault.cli.card_line import (
    ANY,
    CURRENT,
    NEW,
    Line,
    asked,
    card_argument,
    repeatable,
    request_id_option,
)
from pinvault.cli.common import json_option, show
from pinvault.client import Card, PinVerdict, PlacedPin, RevealKey
from pinvault.client.card_values import (
    CardSelector,
    CardStatus,
    SessionAction,
    TokenType,
    VerifiedBy,
)

WRONG: Final = 1
"""How a command ends whose PIN was not the right one."""
PEM: Final = click.Path(path_type=Path, dir_okay=False)
COLUMNS: Final = (
    *("Card", "Program", "External id", "Last four", "Sequence number", "Expiry", "Status"),
    *("PIN", "Tries left"),
)


@click.group()
@click.option("--server", envvar="PINVAULT_SERVER", help="host:port")
@click.option("--ca", envvar="PINVAULT_CA", type=PEM, help="PEM of the server's CA.")
@click.option("--certificate", envvar="PINVAULT_CERTIFICATE", type=PEM, help="Your PEM.")
@click.option("--private-key", envvar="PINVAULT_PRIVATE_KEY", type=PEM, help="Its key's PEM.")
@click.option(
    "--sealing-profile",
    envvar="PINVAULT_SEALING_PROFILE",
    default="sealed-card",
    show_default=True,
    help="The incoming profile that binds cards.",
)
@click.option(
    "--sealing-key",
    envvar="PINVAULT_SEALING_KEY",
    default="pin-seal",
    show_default=True,
    help="The key of that profile.",
)
@click.option("--thumbprint", multiple=True, help="Pins the sealing key (RFC 7638).")
@click.pass_context
def card(
    context: click.Context,
    /,
    *,
    server: str | None,
    sealing_profile: str,
    thumbprint: tuple[str, ...],
    **options: Any,
) -> None:
    """Keep the PINs of cards, as a client of a server.

    CARD is a card's id, PROGRAM:EXTERNAL-ID, or - to be asked for the PAN. Where several cards
    have the PAN, --sequence-number and --program tell which.
    """
    context.obj = Line(server, profile=sealing_profile, thumbprints=thumbprint, **options)


token_option = click.option(
    "--token", "with_token", is_flag=True, help="Ask for a control token of the card."
)


def _words(words: Any) -> click.Choice[str]:
    return click.Choice(get_args(words), case_sensitive=False)


@card.command()
@click.option("--program", required=True, help="The program that the card is of.")
@click.option("--expiry", required=True, metavar="YYMM", help="Its last month.")
@click.option("--sequence-number", help="The PAN sequence number, 2 or 3 digits.  [default: 00]")
@click.option("--external-id", help="What the program's own systems call the card.")
@click.option("--status", type=_words(CardStatus), default="INACTIVE", show_default=True)
@request_id_option
@json_option
@click.pass_obj
def register(line: Line, /, *, as_json: bool, **facts: Any) -> None:
    """Register a card; its PAN is asked for."""
    made = line.vault.cards.register(pan=asked("PAN"), **facts)
    _show(f"{made.card_id} is registered", made, as_json=as_json)


@card.command(name="show")
@card_argument
@json_option
@click.pass_obj
def show_card(line: Line, *, card: CardSelector, as_json: bool) -> None:
    """Show a card and the state of its PIN."""
    _show("Card", line.vault.cards.get(card), as_json=as_json)


@card.command()
@card_argument
@click.argument("status", type=_words(CardStatus))
@json_option
@click.pass_obj
def status(line: Line, *, card: CardSelector, status: CardStatus, as_json: bool) -> None:
    """Change a card's status; a closed card stays closed."""
    changed = line.vault.cards.set_status(card, status)
    _show(f"{changed.card_id} is {changed.status}", changed, as_json=as_json)


@card.command()
@card_argument
@click.argument("kind", metavar="TYPE", type=_words(TokenType))
@json_option
@click.pass_obj
def token(line: Line, *, card: CardSelector, kind: TokenType, as_json: bool) -> None:
    """Issue a control token, SET_PIN or REVEAL_PIN, and show it this once."""
    made = line.vault.cards.issue_control_token(card, kind)
    row = (made.card_id, kind, made.token, made.expires_at.isoformat())
    show("Control token", ("Card", "Type", "Token", "Until"), [row], as_json=as_json)


@card.command()
@json_option
@click.pass_obj
def token_use(line: Line, *, as_json: bool) -> None:
    """Tell what a control token is good for, which stays good; the token is asked for."""
    found = line.vault.cards.get_control_token(asked("Control token"))
    row = (found.card_id, found.kind, found.expires_at.isoformat())
    show("Control token", ("Card", "Type", "Until"), [row], as_json=as_json)


@card.command()
@card_argument
@token_option
@repeatable
@json_option
@click.pass_obj
def set_pin(
    line: Line,
    *,
    card: CardSelector,
    with_token: bool,
    request_id: str | None,
    sealed: Path | None,
    as_json: bool,
) -> None:
    """Set a card's PIN, the first or another."""
    card_id = line.card_id(card)
    control_token = asked("Control token") if with_token else None
    [new_pin] = line.sealed(card_id, NEW, kept=sealed)
    placed = line.vault.cards.set_pin(
        None if with_token else card_id,
        control_token=control_token,
        new_pin=new_pin,
        request_id=request_id,
    )
    _placed("The PIN is set", placed, as_json=as_json)


@card.command()
@card_argument
@repeatable
@json_option
@click.pass_context
def change_pin(
    context: click.Context,
    *,
    card: CardSelector,
    request_id: str | None,
    sealed: Path | None,
    as_json: bool,
) -> None:
    """Change a card's PIN when the current one is right; end with 1 when it is not."""
    line: Line = context.obj
    card_id = line.card_id(card)
    current_pin, new_pin = line.sealed(card_id, CURRENT, NEW, kept=sealed)
    verdict = line.vault.cards.change_pin(
        card_id, current_pin=current_pin, new_pin=new_pin, request_id=request_id
    )
    done = "The PIN is changed" if verdict else "Not the current PIN"
    _judged(context, done, verdict, as_json=as_json)


@card.command()
@card_argument
@repeatable
@json_option
@click.pass_obj
def reset_pin(
    line: Line, *, card: CardSelector, request_id: str | None, sealed: Path | None, as_json: bool
) -> None:
    """Replace a card's PIN without the current one, and lift its block."""
    card_id = line.card_id(card)
    [new_pin] = line.sealed(card_id, NEW, kept=sealed)
    placed = line.vault.cards.reset_pin(card_id, new_pin=new_pin, request_id=request_id)
    _placed("The PIN is reset", placed, as_json=as_json)


@card.command()
@card_argument
@click.option("--profile", required=True, help="The outgoing profile of who gets the PIN.")
@json_option
@click.pass_obj
def reissue_pin(line: Line, *, card: CardSelector, profile: str, as_json: bool) -> None:
    """Have a new PIN drawn and kept, and show the envelope of it for a partner."""
    made = line.vault.cards.reissue_pin(card, profile=profile)
    key = f"{made.target_key.name}/{made.target_key.version}"
    row = (made.card_id, made.set_at.isoformat(), key, made.envelope)
    show("The PIN is new", ("Card", "Set at", "Sealed under", "Envelope"), [row], as_json=as_json)


@card.command()
@card_argument
@repeatable
@json_option
@click.pass_context
def check_pin(
    context: click.Context,
    *,
    card: CardSelector,
    request_id: str | None,
    sealed: Path | None,
    as_json: bool,
) -> None:
    """Check a PIN; end with 1 when it is not the right one, which costs a try."""
    line: Line = context.obj
    card_id = line.card_id(card)
    [pin] = line.sealed(card_id, ANY, kept=sealed)
    verdict = line.vault.cards.check_pin(card_id, pin, request_id=request_id)
    _judged(context, "It is the PIN" if verdict else "Not the PIN", verdict, as_json=as_json)


@card.command()
@card_argument
@click.option("--verified-by", type=_words(VerifiedBy), required=True, help="How, of whom it is.")
@click.option("--to-stdout", is_flag=True, help="Print the PIN where no terminal shows it.")
@token_option
@click.pass_obj
def reveal_pin(
    line: Line, *, card: CardSelector, verified_by: VerifiedBy, to_stdout: bool, with_token: bool
) -> None:
    """Show a card's PIN; without --token a control token is issued and used up."""
    if not (sys.stdout.isatty() or to_stdout):
        raise click.UsageError(
            "a PIN is shown on a terminal: give --to-stdout to have it elsewhere"
        )
    cards = line.vault.cards
    control_token = (
        asked("Control token")
        if with_token
        else cards.issue_control_token(card, "REVEAL_PIN").token
    )
    with RevealKey() as key:
        revealed = cards.reveal_pin(control_token, key=key, verified_by=verified_by)
        click.echo(key.open(revealed))


@card.command()
@card_argument
@json_option
@click.pass_obj
def unblock(line: Line, *, card: CardSelector, as_json: bool) -> None:
    """Lift the block of a card's PIN and give all tries back."""
    made = line.vault.cards.unblock_pin(card)
    _show(f"The PIN of {made.card_id} has all its tries", made, as_json=as_json)


@card.command()
@card_argument
@click.argument("action", type=_words(SessionAction))
@click.option("--origin", required=True, help="Of the site that embeds the page: https://host.")
@json_option
@click.pass_obj
def session(
    line: Line, *, card: CardSelector, action: SessionAction, origin: str, as_json: bool
) -> None:
    """Create a session of the hosted page to SET, CHANGE or RESET a PIN; show its secret this once.

    Whoever has the secret opens the page, once, and enters the PIN: hand it to the cardholder's
    browser, and keep it out of files and logs.
    """
    made = line.vault.cards.create_session(card, action, origin=origin)
    row = (made.card_id, action, made.session_id, made.secret, made.expires_at.isoformat())
    show("Session", ("Card", "Action", "Session", "Secret", "Until"), [row], as_json=as_json)


def _show(title: str, card: Card, *, as_json: bool) -> None:
    pin = card.pin
    state = "none" if pin is None else "blocked" if pin.blocked else "set"
    row = (
        *(card.card_id, card.program, card.external_id or "", card.last_four),
        *(card.sequence_number, card.expiry, card.status),
        *(state, str(pin.tries_left) if pin is not None else ""),
    )
    show(title, COLUMNS, [row], as_json=as_json)


def _placed(title: str, placed: PlacedPin, *, as_json: bool) -> None:
    keys = " ".join(f"{key.name}/{key.version}" for key in placed.stored_keys)
    row = (placed.card_id, placed.set_at.isoformat(), keys)
    show(title, ("Card", "Set at", "Kept under"), [row], as_json=as_json)


def _judged(context: click.Context, title: str, verdict: PinVerdict, *, as_json: bool) -> None:
    row = (
        "match" if verdict else "mismatch",
        str(verdict.tries_left),
        "yes" if verdict.blocked else "no",
    )
    show(title, ("Result", "Tries left", "Blocked"), [row], as_json=as_json)
    if not verdict:
        context.exit(WRONG)
