"""`pinvault key ceremony` and what belongs to it: passphrases before, transcripts after.

Rules:
- Nothing secret comes by argument, environment or file: custodians type at the terminal.
- Where the transcript goes is made sure of before the first custodian begins, and none is ever
  written over. Every end of a ceremony has one.
- Transcript and audit record are written before anybody is told how it ended.
"""

import os
import platform
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click
import cryptography

from hsm import vocabulary as token
from hsm.errors import HsmError
from hsm.roles import ROLES
from pinvault import __version__, bootstrap
from pinvault.bootstrap import CustodyLog
from pinvault.bootstrap.inputs import utc_now
from pinvault.ceremony import people, transcript
from pinvault.ceremony.plan import Plan, read_plan
from pinvault.ceremony.procedure import Aborted, Ending, Procedure
from pinvault.ceremony.transcript import Ground, Signature, SignedTranscript, Transcript
from pinvault.cli import faults
from pinvault.cli.common import config_argument
from pinvault.cli.key.desk import KeyDesk, NotDone, key_desk
from pinvault.cli.key.terminal import Tty, controlling_terminal
from pinvault.model.errors import Refusal

NOT_LOADED = 1
IDLE_S = 300.0
METHOD = "Key.Ceremony"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a program; they come to its main thread, whichever thread is running."""
OUTCOMES = {
    "loaded": "OK",
    "rehearsed": "REHEARSED",
    "aborted": "ABORTED",
    "refused": "REFUSED",
    "failed": "FAILED",
}
idle_option = click.option(
    "--idle", default=IDLE_S, show_default=True, help="Seconds that an answer may take."
)


@click.command()
@config_argument
@click.argument("plan_file", metavar="CEREMONY", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--rehearse", is_flag=True, help="Take all steps with test components; load nothing.")
@click.option(
    "--transcripts",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where the transcript goes; beside CEREMONY if left out.",
)
@idle_option
@click.pass_context
def ceremony(
    context: click.Context,
    config_file: Path,
    plan_file: Path,
    rehearse: bool,
    transcripts: Path | None,
    idle: float,
) -> None:
    """Load a key from the components of two or three custodians; see docs/ceremony.md.

    Ends with 0 when the key is loaded (or rehearsed), with 1 when the ceremony was aborted.
    """
    plan = read_plan(plan_file.absolute())
    with key_desk(config_file, makes=plan.key.name) as desk:
        _require_possible(plan, desk)
        with (
            controlling_terminal(idle_s=idle) as terminal,
            _interruptible() as no_return,
            _Files.made(transcripts or plan.path.parent, plan) as files,
        ):
            ending = Procedure(
                plan,
                rehearsal=rehearse,
                terminal=terminal,
                custody=desk.custody,
                nonce=secrets.token_bytes,
                now=utc_now,
                no_return=no_return,
            ).run()
            signed = _written_down(plan, ending, desk, files, rehearsal=rehearse)
    _tell(signed, files)
    if isinstance(ending.fault, Refusal):
        click.echo(f"pinvault: {faults.told(ending.fault)}", err=True)
    elif ending.fault is not None:
        raise ending.fault
    if ending.result not in {"loaded", "rehearsed"}:
        context.exit(NOT_LOADED)


def _require_possible(plan: Plan, desk: KeyDesk) -> None:
    """Say what would make the last step fail, before anybody has typed a component."""
    key, own = plan.key, desk.loaded.config.keys
    if not desk.loaded.config.key_blocks.clear_keys:
        raise NotDone("components are keys in the clear: set clear_keys in [key_blocks]")
    role = (token.Usage(key.usage), token.Algorithm(key.algorithm).family, token.Mode(key.mode))
    if role not in ROLES:
        raise NotDone("no key has this usage, algorithm and mode: correct the ceremony file")
    if key.name in {own.index, own.audit_signing}:
        raise NotDone(f"{key.name} is the service's own key: generate it")
    if key.valid_until is not None and key.valid_until < bootstrap.utc_today():
        raise NotDone("the key would be over before it begins: correct valid_until")
    for who in plan.custodians:
        if isinstance(who.means, people.Certificate) and not who.means.is_in_its_time(utc_now()):
            raise NotDone(f"{who.name}'s certificate is not in its time: renew it, and review it")
    for known in desk.custody.directory().versions(key.name):
        if (known.usage, known.algorithm, known.mode) != (key.usage, key.algorithm, key.mode):
            raise NotDone(f"{known.id} is another kind of key: correct the name or the attributes")


@click.command(name="ceremony-passphrase")
@idle_option
def ceremony_passphrase(idle: float) -> None:
    """Make the hash of a custodian's passphrase, for their `passphrase_hash` in the file."""
    with controlling_terminal(idle_s=idle) as terminal:
        first, again = (_passphrase(terminal, text) for text in ("Passphrase", "Once more"))
    if first != again:
        raise NotDone("the two differ: begin again")
    try:
        click.echo(people.hash_passphrase(first, salt=secrets.token_bytes(people.SALT_BYTES)))
    except ValueError as error:
        raise NotDone(str(error)) from None


def _passphrase(terminal: Tty, prompt: str) -> str:
    try:
        return terminal.hidden(prompt).decode()
    except UnicodeDecodeError:
        raise NotDone("a passphrase is text in UTF-8") from None
    except Aborted:
        raise NotDone("no passphrase was typed") from None


class _Files:
    """The two files of one transcript, made empty before the ceremony begins."""

    def __init__(self, facts: Path, text: Path) -> None:
        self.facts = facts
        self.text = text

    @classmethod
    @contextmanager
    def made(cls, folder: Path, plan: Plan) -> Iterator["_Files"]:
        """Make both; what nothing was written to does not stay."""
        stem = f"{plan.path.stem}-{utc_now():%Y%m%dT%H%M%SZ}"
        files = cls(folder / f"{stem}.json", folder / f"{stem}.txt")
        both = (files.facts, files.text)
        for path in both:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644))
        try:
            yield files
        finally:
            for path in both:
                if path.stat().st_size == 0:
                    path.unlink()

    def write(self, signed: SignedTranscript) -> None:
        """Write facts and text, durably."""
        texts = {
            self.facts: transcript.encode(signed),
            self.text: transcript.render(signed).encode(),
        }
        for path, content in texts.items():
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Take what ends the program for Ctrl-C, and let nobody put the ceremony aside.

    Gives what makes the program deaf to all of it: once called, and after the first interruption.
    """

    def go_deaf() -> None:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)

    def interrupt(_number: int, _frame: object) -> NoReturn:
        go_deaf()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in ENDINGS}
    before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        yield go_deaf
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _written_down(
    plan: Plan, ending: Ending, desk: KeyDesk, files: _Files, *, rehearsal: bool
) -> SignedTranscript:
    """Sign the transcript, write it, and have the audit log hold its digest."""
    told = Transcript(
        kind="REHEARSAL" if rehearsal else "CEREMONY",
        ceremony_file=plan.path.name,
        ceremony_sha256=plan.sha256,
        ground=_ground(desk),
        key=ending.key,
        custodians=tuple(map(transcript.person, plan.custodians)),
        steps=ending.steps,
        result=ending.result,
        cause=ending.cause,
    )
    signed = SignedTranscript(transcript=told, signature=_signature(told, desk.log))
    files.write(signed)
    desk.log.record(
        METHOD,
        OUTCOMES[ending.result],
        cause=ending.cause,
        keys=(ending.loaded,) if ending.loaded else (),
        transcript=transcript.digest(told),
    )
    return signed


def _ground(desk: KeyDesk) -> Ground:
    hsm = desk.loaded.config.hsm
    return Ground(
        operator=desk.log.operator,
        host=socket.gethostname(),
        software=f"pinvault {__version__}, Python {platform.python_version()}, "
        f"cryptography {cryptography.__version__}, {platform.system()} {platform.release()}",
        token_label=hsm.token_label,
        token_serial=hsm.token_serial,
        config_sha256=desk.loaded.sha256,
    )


def _signature(told: Transcript, log: CustodyLog) -> Signature | None:
    """Have the transcript signed in the token; None when the token cannot."""
    try:
        signer, public_key, signature = log.sign(bytes.fromhex(transcript.digest(told)))
    except HsmError:
        return None
    return Signature(signer=signer, public_key=public_key.hex(), signature=signature.hex())


def _tell(signed: SignedTranscript, files: _Files) -> None:
    told = signed.transcript
    how = told.key.id if told.result == "loaded" else told.cause or "no key was loaded"
    click.echo(f"\n{told.kind.capitalize()} {told.result}: {how}")
    click.echo(f"Transcript: {files.text} and {files.facts.name}")
