"""Every refusal that a caller can meet: one exception, one closed set of reasons.

Rules:
- A refusal is raised with a `Reason`; its text comes from the table here and is
  constant. What differs from call to call stands in fields, and never repeats input.
- `PIN_SOURCE_REFUSED` is the one face of every decipher failure. Nothing that a caller
  could see may be added to it: no field, no text, no chained exception.
- The names are those of `pinvault.v1.ErrorReason`; a test holds the two together.
"""

from dataclasses import dataclass
from enum import StrEnum, unique


@unique
class Reason(StrEnum):
    """Why a call was refused; the value travels in `google.rpc.ErrorInfo.reason`."""

    CALLER_UNIDENTIFIED = "CALLER_UNIDENTIFIED"
    METHOD_NOT_GRANTED = "METHOD_NOT_GRANTED"
    KEY_NOT_GRANTED = "KEY_NOT_GRANTED"
    FORMAT_NOT_GRANTED = "FORMAT_NOT_GRANTED"
    PROFILE_NOT_GRANTED = "PROFILE_NOT_GRANTED"
    TRANSLATION_NOT_GRANTED = "TRANSLATION_NOT_GRANTED"
    SCHEME_NOT_GRANTED = "SCHEME_NOT_GRANTED"
    PROGRAM_NOT_GRANTED = "PROGRAM_NOT_GRANTED"
    CALLER_RATE_EXCEEDED = "CALLER_RATE_EXCEEDED"
    PAN_RATE_EXCEEDED = "PAN_RATE_EXCEEDED"

    REQUEST_MALFORMED = "REQUEST_MALFORMED"
    REQUEST_INVALID = "REQUEST_INVALID"
    REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
    DEADLINE_REQUIRED = "DEADLINE_REQUIRED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    METHOD_UNKNOWN = "METHOD_UNKNOWN"
    NOT_SUPPORTED = "NOT_SUPPORTED"

    KEY_UNKNOWN = "KEY_UNKNOWN"
    KEY_USAGE_MISMATCH = "KEY_USAGE_MISMATCH"
    KEY_STATE = "KEY_STATE"
    FORMAT_KEY_MISMATCH = "FORMAT_KEY_MISMATCH"
    PROFILE_UNKNOWN = "PROFILE_UNKNOWN"
    PROFILE_MISMATCH = "PROFILE_MISMATCH"
    PAN_MISMATCH = "PAN_MISMATCH"
    TRANSLATION_FORBIDDEN = "TRANSLATION_FORBIDDEN"
    SCHEME_UNKNOWN = "SCHEME_UNKNOWN"
    SCHEME_MISMATCH = "SCHEME_MISMATCH"
    SOURCE_UNBOUND = "SOURCE_UNBOUND"
    KSN_INVALID = "KSN_INVALID"
    BATCH_INVALID = "BATCH_INVALID"

    KEY_BLOCK_MALFORMED = "KEY_BLOCK_MALFORMED"
    KEY_BLOCK_REFUSED = "KEY_BLOCK_REFUSED"
    KEY_CRYPTOGRAM_REFUSED = "KEY_CRYPTOGRAM_REFUSED"
    KEY_CHECK_VALUE_MISMATCH = "KEY_CHECK_VALUE_MISMATCH"
    KEY_ALREADY_EXISTS = "KEY_ALREADY_EXISTS"
    KEY_NOT_EXPORTABLE = "KEY_NOT_EXPORTABLE"
    KEY_BLOCKS_OFF = "KEY_BLOCKS_OFF"
    KEY_CHANGE_REFUSED = "KEY_CHANGE_REFUSED"
    KEY_WORN_OUT = "KEY_WORN_OUT"
    KEY_BUSY = "KEY_BUSY"

    PROGRAM_UNKNOWN = "PROGRAM_UNKNOWN"
    CARD_UNKNOWN = "CARD_UNKNOWN"
    CARD_AMBIGUOUS = "CARD_AMBIGUOUS"
    CARD_ALREADY_EXISTS = "CARD_ALREADY_EXISTS"
    CARD_STATUS = "CARD_STATUS"
    CARD_RATE_EXCEEDED = "CARD_RATE_EXCEEDED"
    PIN_NOT_SET = "PIN_NOT_SET"
    PIN_BLOCKED = "PIN_BLOCKED"
    PIN_CHANGED_MEANWHILE = "PIN_CHANGED_MEANWHILE"
    PIN_NOT_REVEALABLE = "PIN_NOT_REVEALABLE"
    CONTROL_TOKEN_REFUSED = "CONTROL_TOKEN_REFUSED"  # noqa: S105 - a reason, no token
    SESSION_REFUSED = "SESSION_REFUSED"
    RECIPIENT_KEY_REFUSED = "RECIPIENT_KEY_REFUSED"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    REQUEST_IN_PROGRESS = "REQUEST_IN_PROGRESS"

    PIN_SOURCE_REFUSED = "PIN_SOURCE_REFUSED"
    ENVELOPE_EXPIRED = "ENVELOPE_EXPIRED"
    ENVELOPE_REPLAYED = "ENVELOPE_REPLAYED"
    KSN_REPLAYED = "KSN_REPLAYED"
    PIN_WEAK = "PIN_WEAK"

    HSM_UNAVAILABLE = "HSM_UNAVAILABLE"
    AUDIT_UNAVAILABLE = "AUDIT_UNAVAILABLE"
    LIMITS_UNAVAILABLE = "LIMITS_UNAVAILABLE"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    INTERNAL = "INTERNAL"


TEXTS: dict[Reason, str] = {
    Reason.CALLER_UNIDENTIFIED: (
        "The client certificate carries no identity of the kind this server reads. "
        "Use a certificate with the configured SAN or CN."
    ),
    Reason.METHOD_NOT_GRANTED: (
        "No grant lets this caller use this method. Ask the operator for a row in the grants table."
    ),
    Reason.KEY_NOT_GRANTED: (
        "The caller's grants for this method do not name this key. "
        "Use a granted key or ask the operator."
    ),
    Reason.FORMAT_NOT_GRANTED: (
        "The caller's grants for this method do not name this PIN block format. "
        "Use a granted format or ask the operator."
    ),
    Reason.PROFILE_NOT_GRANTED: (
        "The caller's grants for this method do not name this envelope profile. "
        "Use a granted profile or ask the operator."
    ),
    Reason.TRANSLATION_NOT_GRANTED: (
        "The caller's grants do not allow this step, though they name all that takes part in it. "
        "Use another source or target or ask the operator."
    ),
    Reason.SCHEME_NOT_GRANTED: (
        "The caller's grants for this method do not name this verification scheme or script "
        "profile. Use a granted one or ask the operator."
    ),
    Reason.PROGRAM_NOT_GRANTED: (
        "The caller's grants for this method do not name this card program. Use a granted one or "
        "ask the operator."
    ),
    Reason.CALLER_RATE_EXCEEDED: (
        "The caller's rate for this method is used up. Wait as RetryInfo says."
    ),
    Reason.PAN_RATE_EXCEEDED: (
        "The caller's rate for this PAN is used up, or the PIN block was shown for another PAN. "
        "Wait as RetryInfo says."
    ),
    Reason.REQUEST_MALFORMED: (
        "The message is not a valid encoding of the method's request. "
        "Build it from the published contract."
    ),
    Reason.REQUEST_INVALID: (
        "A field breaks the rules of the contract. See BadRequest for the field and the rule."
    ),
    Reason.REQUEST_TOO_LARGE: "The message is larger than the method allows. Send less at once.",
    Reason.DEADLINE_REQUIRED: "The call carries no deadline. Set one.",
    Reason.DEADLINE_EXCEEDED: "The deadline passed before the work was done. Allow more time.",
    Reason.METHOD_UNKNOWN: "This server does not serve the method. Check the contract's version.",
    Reason.NOT_SUPPORTED: (
        "The contract has a place for this, and this server does not serve it. "
        "Use another source, format or scheme."
    ),
    Reason.KEY_UNKNOWN: "The key ring has no such key or version. See ListKeys.",
    Reason.KEY_USAGE_MISMATCH: (
        "The key's usage or mode of use does not fit this place. See GetKey for what it may do."
    ),
    Reason.KEY_STATE: (
        "The key's state or cryptoperiod forbids this use. See GetKey; use the active version."
    ),
    Reason.FORMAT_KEY_MISMATCH: (
        "Format, key and length do not fit together: format 4 is a block of 16 bytes under AES, "
        "every other format one of 8 bytes under TDES, a legacy one under a key kept for it."
    ),
    Reason.PROFILE_UNKNOWN: "The configuration has no such envelope profile.",
    Reason.PROFILE_MISMATCH: (
        "The profile serves the other direction or another kind of call. "
        "Use an incoming profile for sources and an outgoing one for targets."
    ),
    Reason.PAN_MISMATCH: ("The PANs of source and target differ. A PIN never changes its PAN."),
    Reason.TRANSLATION_FORBIDDEN: (
        "No grant can allow this step between formats. A PIN goes out in an ISO format that is "
        "bound to its PAN, and only what is bound to none may stay so."
    ),
    Reason.SCHEME_UNKNOWN: (
        "The configuration has no such verification scheme or script profile, "
        "or the scheme has no key of this index."
    ),
    Reason.SCHEME_MISMATCH: (
        "The scheme is of another kind, or the value has not as many digits as the scheme checks."
    ),
    Reason.SOURCE_UNBOUND: (
        "The source is bound to no PAN, so nothing tells whose PIN it is. "
        "Use a PIN block or an envelope that is bound to one."
    ),
    Reason.KSN_INVALID: (
        "The key serial number or working key does not fit the base derivation key, or the "
        "counter is one that no device uses: zero, or with too many bits set."
    ),
    Reason.BATCH_INVALID: (
        "The columns of the batch do not fit together: give whole blocks of the source key's "
        "size, as many as the contract allows, and ten bytes a PAN where a format has one."
    ),
    Reason.KEY_BLOCK_MALFORMED: (
        "The key block's header, length or optional blocks are not those of a version that this "
        "server reads. See BadRequest for the part."
    ),
    Reason.KEY_BLOCK_REFUSED: "The key block could not be opened under this key.",
    Reason.KEY_CRYPTOGRAM_REFUSED: (
        "The key cryptogram could not be opened under this key, or holds no key of the kind that "
        "was told."
    ),
    Reason.KEY_CHECK_VALUE_MISMATCH: (
        "The check value is not that of the key. Nothing was changed. "
        "Compare it with what the key's sender, or GetKey, tells."
    ),
    Reason.KEY_ALREADY_EXISTS: (
        "The key ring has this key already, by another name or version. "
        "A key serves one purpose: ask for one of your own."
    ),
    Reason.KEY_NOT_EXPORTABLE: (
        "The key was made or came to stay in the HSM. Only a key whose key block is kept under "
        "the storage key can go out."
    ),
    Reason.KEY_BLOCKS_OFF: (
        "Clear keys are off, so no key comes or goes in a key block. "
        "The operator can set clear_keys in the key_blocks section of the configuration."
    ),
    Reason.KEY_CHANGE_REFUSED: (
        "The key ring, the HSM or the configuration does not allow this change of the key. "
        "See BadRequest for what to do instead."
    ),
    Reason.KEY_WORN_OUT: (
        "The key has enciphered as many blocks as the configuration allows. Rotate it."
    ),
    Reason.KEY_BUSY: "Another change of keys is under way. Retry as RetryInfo says.",
    Reason.PROGRAM_UNKNOWN: (
        "The configuration has no such card program. Add it or correct the name."
    ),
    Reason.CARD_UNKNOWN: (
        "No card of a program that the caller's grants name has this id, number or external id."
    ),
    Reason.CARD_AMBIGUOUS: (
        "Several cards have this PAN. Give the PAN sequence number, or the program."
    ),
    Reason.CARD_ALREADY_EXISTS: (
        "A card with this PAN and sequence number, or with this external id in the program, is "
        "registered. See GetCard."
    ),
    Reason.CARD_STATUS: (
        "The card's program does not allow this in the card's status, or a closed card was to be "
        "opened. See GetCard."
    ),
    Reason.CARD_RATE_EXCEEDED: (
        "The card's PIN was set, changed or revealed as often as its program allows. Wait as "
        "RetryInfo says."
    ),
    Reason.PIN_NOT_SET: "The card has no PIN. Set one.",
    Reason.PIN_BLOCKED: "The tries of the card's PIN are used up. Use ResetPin or UnblockPin.",
    Reason.PIN_CHANGED_MEANWHILE: (
        "Another call set the card's PIN while this one was under way. See GetCard, and call "
        "again if need be."
    ),
    Reason.PIN_NOT_REVEALABLE: (
        "Nothing is kept that the card's PIN can be had from: its program does not reveal, or did"
        " not when the PIN was set."
    ),
    Reason.CONTROL_TOKEN_REFUSED: (
        "The control token is unknown, used, expired, replaced by a newer one, of another type or"
        " another caller's. Issue a new one."
    ),
    Reason.SESSION_REFUSED: (
        "The PIN session is unknown, used, expired, opened elsewhere or out of entries. Create a "
        "new one."
    ),
    Reason.RECIPIENT_KEY_REFUSED: (
        "The recipient's key is no public key of the curve, or was used before. "
        "Make a new one for every reveal."
    ),
    Reason.REQUEST_ID_REUSED: "The request id was used for another request. Choose a new one.",
    Reason.REQUEST_IN_PROGRESS: "A request with this id is under way. Retry as RetryInfo says.",
    Reason.PIN_SOURCE_REFUSED: "The PIN source could not be opened.",
    Reason.ENVELOPE_EXPIRED: "The envelope's time has passed. Seal the PIN anew.",
    Reason.ENVELOPE_REPLAYED: "The envelope was used before. Seal the PIN anew.",
    Reason.KSN_REPLAYED: (
        "The key serial number was used before. Let the device encipher the PIN anew."
    ),
    Reason.PIN_WEAK: "The new PIN is one that the rules forbid. Let the cardholder choose another.",
    Reason.HSM_UNAVAILABLE: "The HSM is away or recovering. Retry as RetryInfo says.",
    Reason.AUDIT_UNAVAILABLE: (
        "The audit record cannot be written, so no answer is given. Retry as RetryInfo says."
    ),
    Reason.LIMITS_UNAVAILABLE: (
        "The host's table of limits is full or unreadable. Retry as RetryInfo says."
    ),
    Reason.STORE_UNAVAILABLE: (
        "The database is away or busy, and what was asked for may have been done or not. Retry "
        "with the same request id as RetryInfo says."
    ),
    Reason.INTERNAL: "A fault of this server. Tell the operator the call id.",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule of the contract: the field's path and the rule, never the value."""

    field: str
    description: str


class Refusal(Exception):
    """A call is refused.

    `field` is the request field that is to blame, where there is one; `violations`
    come with `REQUEST_INVALID`; `retry_after_s` is in seconds; `cause` is a word of a
    closed set for the operator's audit record and never reaches the caller.
    """

    def __init__(
        self,
        reason: Reason,
        *,
        field: str = "",
        violations: tuple[Violation, ...] = (),
        retry_after_s: float | None = None,
        cause: str = "",
    ) -> None:
        super().__init__(TEXTS[reason])
        self.reason = reason
        self.field = field
        self.violations = violations
        self.retry_after_s = retry_after_s
        self.cause = cause
