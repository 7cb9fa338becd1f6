"""Key rings taken up: at the opening, and while a device serves, inspected as at a start.

Rules:
- Each key is inspected in a turn of its own, so that callers are served in between.
- Nothing changes here: the device changes when everything has been found right.
- Objects of the token that the ring before named are no strangers yet: they are told of as a
  warning, since calls that began under that ring may still use them.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from hsm import inspection
from hsm.errors import Finding, InspectionFailed, KeySealed, Severity
from hsm.keyring import KeyEntry, Keyring
from hsm.recovery import Link, is_same_key
from hsm.serving import Serving

ResultT = TypeVar("ResultT")


class Turn(Protocol):
    """Runs a task inside the lane."""

    def __call__(self, task: Callable[[], ResultT]) -> ResultT:
        """What the task returns or raises. HsmTimeout when the time has run out."""


def examine(
    link: Link, keyring: Keyring, former: Serving, turn: Turn
) -> tuple[tuple[Finding, ...], dict[str, bytes]]:
    """The warnings, and the public keys of the ring by id.

    InspectionFailed with every finding, MechanismMissing, or HsmUnavailable.
    """
    turn(partial(link.check_mechanisms, keyring))
    findings: list[Finding] = []
    public_keys: dict[str, bytes] = {}
    for entry in keyring.in_use:
        known = former.entries.get(entry.id)
        if known is None or not is_same_key(entry, known):
            found, spki = turn(partial(_inspected, link, entry))
            findings += found
        else:
            spki = former.public_keys.get(entry.id)
        if spki is not None:
            public_keys[entry.id] = spki
    findings += turn(partial(_strangers, link, keyring, former))
    if any(finding.severity is Severity.STOP for finding in findings):
        raise InspectionFailed(tuple(findings))
    return tuple(findings), public_keys


def read_public_keys(link: Link, keyring: Keyring) -> dict[str, bytes]:
    """The public keys of a ring, in DER by id, before a device opens: every key is found once, so
    that a fault shows now and not at the first call.
    """
    public_keys: dict[str, bytes] = {}
    for entry in keyring.in_use:
        try:
            spki = link.perform(entry, lambda live: live.spki)
        except KeySealed:
            continue  # only without inspection, which would have named it
        if spki is not None:
            public_keys[entry.id] = spki
    return public_keys


def _inspected(link: Link, entry: KeyEntry) -> tuple[tuple[Finding, ...], bytes | None]:
    """The findings of a key; without any, it is found in the device's own session, ready to use."""
    findings = link.beside(lambda session: tuple(inspection.inspect_key(session, entry)))
    return findings, None if findings else link.perform(entry, lambda live: live.spki)


def _strangers(link: Link, keyring: Keyring, former: Serving) -> tuple[Finding, ...]:
    leaving = former.entries.values()
    return link.beside(
        lambda session: tuple(inspection.inspect_strangers(session, keyring, leaving=leaving))
    )
