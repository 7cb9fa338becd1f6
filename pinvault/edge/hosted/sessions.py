"""What the page calls: it opens its session, asks for the key to seal under, and submits.

Rules:
- Only the page itself may call: its own origin, by JSON, which no form of another page can send.
- A PIN comes as an envelope that the page made, and goes on as it came. Nothing here opens one.
- Nothing of a session is kept here: whether it is good, and how often, the server says.
- Calls are counted by address and by session before the server hears of them.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from pinvault.client import SealedPin, Vault
from pinvault.edge.body import decode
from pinvault.edge.dialect import Answer, Arrived, EdgeReason, Endpoint, Refused
from pinvault.edge.hosted import headers
from pinvault.edge.hosted.codes import CODES, Problem
from pinvault.edge.rates import Rate, Rates, site
from pinvault.edge.sections import HostedPage, PinLength

SessionId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{20,64}\Z")]
Secret = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]
Envelope = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){4}\Z")]
Action = Literal["set", "reset", "change"]
_ACTIONS: Final[Mapping[str, Action]] = {"SET": "set", "RESET": "reset", "CHANGE": "change"}


class _Quiet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body that no repr shows."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class ToOpen(_Quiet, frozen=True, kw_only=True):
    """What stands in the page's address, after the `#`."""

    session_id: SessionId
    secret: Secret


class Opened(_Quiet, frozen=True, kw_only=True):
    """A session, for its page alone; `expires_at` is in Unix seconds.

    By `last_four`, the last digits of the card's PAN, cardholders know whose PIN it is.
    """

    page_secret: str
    card_id: str
    last_four: str
    action: Action
    pin_length: PinLength
    origin: str
    expires_at: int


class ToSubmit(_Quiet, frozen=True, kw_only=True):
    """The PINs that were entered, each sealed for the session's card."""

    session_id: SessionId
    page_secret: Secret
    new: Envelope
    current: Envelope | None = None


class Submitted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How it ended; the tries are told where the current PIN was wrong."""

    outcome: Literal["done", "wrong_current"]
    tries_left: int | None = None
    blocked: bool | None = None


class Jwk(msgspec.Struct, frozen=True, kw_only=True):
    """A public RSA key (RFC 7517, RFC 7518 6.3.1)."""

    kty: Literal["RSA"]
    use: Literal["enc"]
    kid: str
    alg: str
    n: str
    e: str


class JwkSet(msgspec.Struct, frozen=True, kw_only=True):
    """The key that PINs are sealed under."""

    keys: tuple[Jwk, ...]


class Sessions:
    """The three calls."""

    def __init__(self, page: HostedPage, vault: Vault) -> None:
        self._vault, self._origin = vault, page.public_url
        self._rates = Rates(
            per_caller=Rate.read(page.per_address),
            per_card=Rate.read(page.per_session),
            now=time.monotonic,
        )

    def endpoints(self) -> Iterable[Endpoint]:
        """Give the paths."""
        refusals = {code.status: Problem for code in CODES.values()}
        yield Endpoint(
            "POST",
            "/pin/open",
            self._open,
            takes_clear_pin=False,
            request=ToOpen,
            answers={**refusals, 200: Opened},
            summary="Open a session, once",
        )
        yield Endpoint(
            "POST",
            "/pin/submit",
            self._submit,
            takes_clear_pin=False,
            request=ToSubmit,
            answers={**refusals, 200: Submitted},
            summary="Do what a session is for",
        )
        yield Endpoint(
            "GET",
            "/jwks.json",
            self._keys,
            takes_clear_pin=False,
            request=None,
            answers={**refusals, 200: JwkSet},
            summary="The key that PINs are sealed under",
        )

    def _open(self, arrived: Arrived) -> Answer:
        self._require_page(arrived)
        asked = decode(arrived, ToOpen)
        self._spend(arrived, asked.session_id)
        opened = self._vault.cards.open_session(asked.session_id, secret=asked.secret)
        told = Opened(
            page_secret=opened.page_secret,
            card_id=opened.card_id,
            last_four=opened.last_four,
            action=_ACTIONS[opened.action],
            pin_length=PinLength(minimum=opened.min_pin_length, maximum=opened.max_pin_length),
            origin=opened.origin,
            expires_at=int(opened.expires_at.timestamp()),
        )
        return Answer.json(200, told, headers=headers.OURS_ALONE)

    def _submit(self, arrived: Arrived) -> Answer:
        self._require_page(arrived)
        asked = decode(arrived, ToSubmit)
        self._spend(arrived, asked.session_id)
        verdict = self._vault.cards.submit_pin(
            asked.session_id,
            page_secret=asked.page_secret,
            new_pin=self._sealed(asked.new),
            current_pin=None if asked.current is None else self._sealed(asked.current),
        )
        told = Submitted(outcome="done")
        if not verdict:
            told = Submitted(
                outcome="wrong_current", tries_left=verdict.tries_left, blocked=verdict.blocked
            )
        return Answer.json(200, told, headers=headers.OURS_ALONE)

    def _keys(self, arrived: Arrived) -> Answer:
        self._spend(arrived)
        key = msgspec.convert(self._vault.sealing_key().jwk(), Jwk)
        told = JwkSet(keys=(key,))
        return Answer.json(200, told, headers=headers.OURS_ALONE)

    def _sealed(self, envelope: str) -> SealedPin:
        return SealedPin(profile=self._vault.sealing_profile, ciphertext=envelope.encode())

    def _require_page(self, arrived: Arrived) -> None:
        if arrived.header("origin") != self._origin:
            raise Refused(EdgeReason.NOT_AUTHORISED)
        if arrived.media_type() != "application/json":
            raise Refused(EdgeReason.BODY_INVALID, {"path": "$", "problem": "is not JSON"})

    def _spend(self, arrived: Arrived, session_id: str = "") -> None:
        self._rates.spend(site(arrived.address), card=session_id)
