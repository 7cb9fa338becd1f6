"""Lets a call pass the grants and the limits, or refuses it.

Rules:
- Grants come before limits: a call that was never allowed uses up nothing.
- A limit that cannot be checked refuses; nothing passes because a table is full.
- PIN blocks count against their TDES key as soon as the call may make them.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from pinvault.model.call import Call
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.policy.block_counts import KeyName, WornOut
from pinvault.policy.grants import Ask, Grant, Grants
from pinvault.policy.host_file import TableError
from pinvault.policy.limits import LimitExceeded, Limits, Rate
from pinvault.policy.pan_index import PanIndex

TABLE_RETRY_AFTER_S = 5.0
NO_ACCOUNT = b""
_SCOPES = {"caller": Reason.CALLER_RATE_EXCEEDED, "pan": Reason.PAN_RATE_EXCEEDED}


class Counts(Protocol):
    """How many PIN blocks were enciphered under each TDES key."""

    def count(self, key: KeyName, blocks: int) -> None:
        """Count blocks that are about to be enciphered, or raise WornOut or TableError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The policy floor: asked when a call comes, and when it is known what it is about.

    `now` gives Unix seconds; without `counts` the blocks of a key are not counted.
    """

    grants: Grants
    limits: Limits
    pans: PanIndex
    now: Callable[[], float]
    counts: Counts | None = None

    def enter(self, *, caller: str, method: str) -> None:
        """Let a caller in who has a row for the method and is within its rate, or refuse.

        Every call that has a row counts, whatever becomes of it.
        """
        rows = self.grants.rows(caller=caller, method=method)
        rate = next((row.per_caller for row in rows if row.per_caller is not None), None)
        self._count(caller=caller, method=method, per_caller=rate)

    def note(self, call: Call, pan: Pan | None) -> None:
        """Note the PAN's index for the record."""
        call.notes.pan_index = self.pans.of(pan).hex() if pan is not None else ""

    def admit(
        self,
        call: Call,
        ask: Ask,
        pan: Pan | None = None,
        *,
        blocks: Sequence[bytes] = (),
        naturals: Collection[bytes] = (),
    ) -> Grant:
        """Let the call pass by the row given back, or refuse.

        `blocks` tells the PIN blocks that are shown for the PAN from others, `naturals` what
        natural PINs are made of: a card shares its own with every card that has the same.
        """
        grant = self.grants.permit(ask, caller=call.caller, method=call.method)
        # A call without a PAN (an unbound envelope to format 1) has no account to keep.
        if pan is not None:
            for account, things in (
                (self.pans.account_of(pan), blocks),
                *((self.pans.natural_of(natural), ()) for natural in naturals),
            ):
                self._count(
                    caller=call.caller,
                    method=call.method,
                    account=account,
                    per_pan=grant.per_pan,
                    blocks=things,
                )
        return grant

    def keep(self, call: Call, block: bytes, pan: Pan | None) -> None:
        """Keep a PIN block that was made for a PAN, or for none, from being shown for another."""
        account = self.pans.account_of(pan) if pan is not None else NO_ACCOUNT
        try:
            self.limits.keep(block, caller=call.caller, pan_hash=account, now=self.now())
        except TableError:
            raise Refusal(Reason.LIMITS_UNAVAILABLE, retry_after_s=TABLE_RETRY_AFTER_S) from None

    def wear(self, key: Key, blocks: int, *, at: str) -> None:
        """Count PIN blocks that are about to be enciphered under a TDES key, or refuse."""
        if self.counts is None:
            return
        try:
            self.counts.count((key.name, key.version, key.check_value), blocks)
        except WornOut:
            raise Refusal(Reason.KEY_WORN_OUT, field=at) from None
        except TableError:
            raise Refusal(Reason.LIMITS_UNAVAILABLE, retry_after_s=TABLE_RETRY_AFTER_S) from None

    def _count(
        self,
        *,
        caller: str,
        method: str,
        account: bytes | None = None,
        per_caller: Rate | None = None,
        per_pan: Rate | None = None,
        blocks: Sequence[bytes] = (),
    ) -> None:
        try:
            self.limits.check(
                caller=caller,
                method=method,
                pan_hash=account,
                per_caller=per_caller,
                per_pan=per_pan,
                now=self.now(),
                blocks=blocks,
            )
        except LimitExceeded as exceeded:
            raise Refusal(_SCOPES[exceeded.scope], retry_after_s=exceeded.retry_after_s) from None
        except TableError:
            raise Refusal(Reason.LIMITS_UNAVAILABLE, retry_after_s=TABLE_RETRY_AFTER_S) from None
