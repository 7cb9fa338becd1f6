"""What an envelope is once it is open, whatever its kind.

Rules:
- It is authentic as far as its kind can tell; its PIN has not been looked at, so that the
  envelope can be spent first: it is good for one look, well-formed or not.
- Its nonce is that of the sender, or the hash of what no one can change and still have it
  open. It is told apart by key: the same nonce under two keys is two envelopes.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pinvault.clearzone.opening import length_of
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key, State
from pinvault.model.pan import Pan
from pinvault.model.profiles import ANY_LENGTH, PinLength


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An open envelope; its PIN is not looked at yet.

    `key_id` is the version that opened it and `nonce` is unique to it. `expires` is in Unix
    seconds; it, `pan`, `card` (an id) and `caller` are what the content names, and None where it
    names none.
    """

    key_id: str
    nonce: bytes
    expires: int | None = None
    pan: Pan | None = None
    card: str | None = None
    caller: str | None = None
    read: Callable[[], Pin] = field(repr=False)

    def pin(self, allowed: PinLength = ANY_LENGTH) -> Pin:
        """Give the PIN, or raise Malformed when there is none of an allowed length."""
        pin = self.read()
        if not allowed.allows(length_of(pin)):
            pin.wipe()
            raise Malformed
        return pin


def chosen(keys: Mapping[str, Key], kid: str | None = None) -> Key:
    """Give the version that an envelope names (`name/version`), else the active one.

    Malformed when it names none of `keys`; Refusal KEY_STATE when there is none active.
    """
    if kid is not None:
        if kid not in keys:
            raise Malformed
        return keys[kid]
    for key in keys.values():
        if key.state is State.ACTIVE:
            return key
    raise Refusal(Reason.KEY_STATE)


def nonce_of(key: Key, sent: str) -> bytes:
    """Make a nonce of what the sender calls one."""
    return f"{key.id} {sent}".encode()


def nonce_from(key: Key, *sealed: bytes) -> bytes:
    """Make a nonce of a ciphertext: parts of fixed lengths, but for the last."""
    return f"{key.id} ".encode() + hashlib.sha256(b"".join(sealed)).digest()
