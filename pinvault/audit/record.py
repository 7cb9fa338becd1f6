"""What one audit record may say, and the shapes that keep everything else out.

Rules kept here:
- No member can hold a PIN, a PIN block, a ciphertext or a PAN. Words begin with a letter and
  hold no run of 12 digits (the shortest PAN, the longest PIN) and no run of 16 hex digits (the
  shortest PIN block). Hex members have lengths that no PIN block (16 or 32) and no RSA field
  (512 and more) has. This stops accidents, not a programmer who spells a secret in letters.
- msgspec does not look at values when a struct is built, only when one is decoded. So a record
  is encoded, decoded by its own schema and compared before it may reach a file (`encode`).
- Empty members are left out of the line.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from pinvault.audit.errors import RecordRefused

_GUARD = r"^(?!.*[0-9]{12})(?!.*[0-9A-Fa-f]{16})"

Event = Literal["call", "boot", "shutdown", "tls-refused", "checkpoint", "keyring", "custody"]
CALLERS_EVENTS: Final = ("call", "tls-refused", "keyring", "custody")
"""What others than the log itself may have recorded."""

Timestamp = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z\Z",
        max_length=27,
    ),
]
CallId = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z",
        max_length=36,
    ),
]
Caller = Annotated[str, Meta(pattern=_GUARD + r"[A-Za-z][A-Za-z0-9._:/@=-]*\Z", max_length=128)]
Method = Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z]*\.[A-Z][A-Za-z]*\Z", max_length=80)]
Outcome = Annotated[str, Meta(pattern=r"^[A-Z][A-Z_]*\Z", max_length=48)]
Cause = Annotated[str, Meta(pattern=r"^[a-z][a-z_-]*\Z", max_length=48)]
Word = Annotated[str, Meta(pattern=_GUARD + r"[A-Za-z][A-Za-z0-9_.+-]*\Z", max_length=64)]
# Up to three words joined, and a plus between them.
Words = Annotated[str, Meta(pattern=_GUARD + r"[A-Za-z][A-Za-z0-9_.+-]*\Z", max_length=100)]
KeyVersion = Annotated[
    str, Meta(pattern=_GUARD + r"[A-Za-z][A-Za-z0-9_.-]*/[0-9]{1,4}\Z", max_length=80)
]
# 3 to 5 bytes for a secret key; 32 bytes for a public one (SHA-256 of its SPKI).
CheckValue = Annotated[
    str, Meta(pattern=r"^(?:(?:[0-9A-Fa-f]{2}){3,5}|[0-9A-Fa-f]{64})\Z", max_length=64)
]
# Letters that are no hex digits, so that no card's id can be anything else.
CardId = Annotated[str, Meta(pattern=r"^card_[g-z]{26}\Z", max_length=31)]
Tls = Annotated[str, Meta(pattern=_GUARD + r"TLS[A-Za-z0-9._/:+-]*\Z", max_length=64)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", max_length=64)]
Microseconds = Annotated[int, Meta(ge=0, lt=10**10)]
Milliseconds = Annotated[int, Meta(ge=0, lt=10**8)]
Items = Annotated[int, Meta(ge=0, lt=10_001)]

# Of boot records: what started, in words chosen by the program.
FactName = Annotated[str, Meta(pattern=r"^[a-z][a-z_]*\Z", max_length=32)]
FactValue = Annotated[
    str,
    Meta(
        pattern=r"^(?:sha256:[0-9a-f]{64}"
        r"|(?!.*[0-9]{12})(?!.*[0-9A-Fa-f]{16})[A-Za-z0-9][A-Za-z0-9._+-]{0,39})\Z",
        max_length=71,
    ),
]

# Of the chain and its checkpoints.
Sequence = Annotated[int, Meta(ge=0, lt=2**53)]
Signature = Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z", max_length=128)]


class KeyUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that a call used: its name with version, and the check value it was known by."""

    key: KeyVersion
    check_value: CheckValue


class AuditRecord(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What a call leaves behind. Whoever writes one clamps the durations to their bounds.

    `pan_hash` is the lower-case hex of a 32-byte keyed hash of the PAN, made with a key that
    stands in no log. `card` and `program` are those of a card that the service keeps. `items` are
    those of a batch. `cause` is a word of a closed set, for the operator's eyes only. `keyring` and
    `transcript` are SHA-256, in hex, of a key ring file that was taken or refused, and of what a
    key ceremony wrote down.
    """

    event: Event
    time: Timestamp
    call_id: CallId = ""
    caller: Caller = ""
    method: Method = ""
    outcome: Outcome = ""
    cause: Cause = ""
    keys: Annotated[tuple[KeyUse, ...], Meta(max_length=8)] = ()
    source: Words = ""
    target: Words = ""
    profile: Word = ""
    pan_hash: Digest = ""
    card: CardId = ""
    program: Word = ""
    items: Items = 0
    items_not_done: Items = 0
    latency_us: Microseconds = 0
    deadline_ms: Milliseconds = 0
    tls: Tls = ""
    keyring: Digest = ""
    transcript: Digest = ""


class Boot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a worker's log went on after a start: from which head, and what was cut off.

    `torn_bytes` is the length of what a crash in the middle of a write left behind, and
    `torn_sha256` its digest; it was never acknowledged, so no answer left on its strength.
    """

    worker: Annotated[int, Meta(ge=0, lt=10_000)]
    previous_size: Sequence
    previous_head: Digest
    torn_bytes: Annotated[int, Meta(ge=0, lt=2**53)]
    torn_sha256: Digest
    facts: Annotated[dict[FactName, FactValue], Meta(max_length=16)]


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed statement that the log had `size` records and ended in `head`."""

    size: Sequence
    head: Digest
    signer: KeyVersion
    signature: Signature


class OwnRecord(AuditRecord, frozen=True, kw_only=True):
    """A record that the log writes of itself: boot, shutdown, checkpoint."""

    boot: Boot | None = None
    checkpoint: Checkpoint | None = None


class Entry(OwnRecord, frozen=True, kw_only=True):
    """A line of the file: a record in its place in the chain."""

    seq: Annotated[int, Meta(ge=1, lt=2**53)]
    prev: Digest
    hash: Digest


_ENCODER = msgspec.json.Encoder(order="deterministic")
_CALLS = msgspec.json.Decoder(AuditRecord)
_OWN: msgspec.json.Decoder[AuditRecord] = msgspec.json.Decoder(OwnRecord)


def rfc3339(moment: datetime) -> str:
    """Write a moment in UTC with microseconds, always 27 characters.

    >>> rfc3339(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05.000000Z'
    """
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone is no moment")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def require_moment(text: str) -> None:
    """Raise ValueError for what has the shape of a moment and is none, such as February 30th."""
    datetime.fromisoformat(text)


def encode(record: AuditRecord) -> bytes:
    """Give the JSON object of a caller's record whose every value fits the schema, or refuse it.

    Events of the log itself are not for callers to write: a forged "boot" would hide a
    restart.
    """
    if record.event not in CALLERS_EVENTS:
        raise RecordRefused("the log itself writes this event", remedy="append calls only")
    return _encode(record, _CALLS)


def encode_own(record: OwnRecord) -> bytes:
    """Give the JSON object of a record of the log itself, or refuse it."""
    return _encode(record, _OWN)


def _encode(record: AuditRecord, schema: msgspec.json.Decoder[AuditRecord]) -> bytes:
    try:
        body = _ENCODER.encode(record)
        faithful = schema.decode(body) == record
        require_moment(record.time)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise RecordRefused(
            "a member of the record is not of its shape",
            remedy="correct the code that fills the member",
            detail=str(error) if isinstance(error, msgspec.MsgspecError) else "",
        ) from None
    if not faithful:
        raise RecordRefused(
            "a member of the record is not of its type",
            remedy="correct the code that fills the member",
        )
    return body
