"""The sections that say what may be done with the PINs of each card program.

Rules:
- A program is wrong here or nowhere: what does not fit its scheme, its rules or the store's keys is
  told at start, by the option that is to blame.
- What can be had back must be switched on: without `reveal` nothing is kept to give a PIN out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from pinvault.config.profiles import PinLengthSection
from pinvault.config.section import Name, Seconds, Section
from pinvault.config.verification import SchemeSection, VisaPvv
from pinvault.model.cards import CardStatus, PinUse, Program, TokenKind, Window
from pinvault.model.pin_rules import PinRules
from pinvault.model.references import SchemeRef
from pinvault.policy.limits import RateError, parse_rate

Tries = Annotated[int, Meta(ge=1, le=15)]
Statuses = Annotated[tuple[CardStatus, ...], Meta(min_length=1)]

_HOST = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
_ORIGIN = re.compile(rf"https://{_HOST}(:[1-9][0-9]{{0,4}})?")
_LOCAL_ORIGIN = re.compile(r"http://localhost(:[1-9][0-9]{0,4})?")


class ProgramFault(ValueError):
    """A program cannot be: the option that is to blame, what is wrong and what to do."""

    def __init__(self, option: str, text: str) -> None:
        super().__init__(text)
        self.option = option


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What of the rest of the file programs stand on."""

    schemes: Mapping[str, SchemeSection]
    rules: Mapping[str, PinRules]
    has_store: bool
    has_reference_key: bool
    has_reveal_key: bool
    is_development: bool


class ProgramSection(Section, frozen=True):
    """A card program; without a scheme a reference block is kept of every PIN."""

    scheme: Name | None = None
    key_index: Annotated[int, Meta(ge=0, le=6)] | None = None
    pin_length: PinLengthSection = PinLengthSection()
    pin_rules: Name | None = None
    try_limit: Tries = 3
    reveal: bool = False
    changes: str = "10/day"
    reveals: str = "5/day"
    set_pin_token_s: Seconds = 3600.0
    reveal_pin_token_s: Seconds = 300.0
    set_pin_in: Statuses = (CardStatus.INACTIVE, CardStatus.ACTIVE)
    check_pin_in: Statuses = (CardStatus.ACTIVE,)
    reveal_pin_in: Statuses = (CardStatus.ACTIVE,)
    origins: tuple[str, ...] = ()
    session_s: Seconds = 600.0

    def to_model(self, name: str, around: Surroundings) -> Program:
        """Give the model's form, or raise ProgramFault."""
        self._require_store(around)
        self._require_scheme(around)
        self._require_origins(around)
        return Program(
            name=name,
            scheme=self._scheme(),
            pin_length=self.pin_length.to_model(),
            rules=self._rules(around),
            try_limit=self.try_limit,
            reveal=self.reveal,
            changes=_window("changes", self.changes),
            reveals=_window("reveals", self.reveals),
            token_s={
                TokenKind.SET_PIN: self.set_pin_token_s,
                TokenKind.REVEAL_PIN: self.reveal_pin_token_s,
            },
            statuses={
                PinUse.SET: frozenset(self.set_pin_in),
                PinUse.CHECK: frozenset(self.check_pin_in),
                PinUse.REVEAL: frozenset(self.reveal_pin_in),
            },
            origins=self.origins,
            session_s=self.session_s,
        )

    def _scheme(self) -> SchemeRef | None:
        if self.scheme is None:
            return None
        return SchemeRef(name=self.scheme, key_index=self.key_index)

    def _require_store(self, around: Surroundings) -> None:
        """Refuse what nothing is there to keep with."""
        if not around.has_store:
            raise ProgramFault("", "cards and PINs are kept in the store: add [store]")
        if self.scheme is None and not around.has_reference_key:
            text = "without a scheme a reference block is kept: name a scheme, or set "
            raise ProgramFault("scheme", f"{text}store.reference_key")
        if self.reveal and not around.has_reveal_key:
            raise ProgramFault("reveal", "what is to be revealed is kept: set store.reveal_key")

    def _require_scheme(self, around: Surroundings) -> None:
        """Refuse a scheme that is not there, or is of a kind that the rest does not fit."""
        if self.scheme is None:
            if self.key_index is not None:
                text = "a key index is a scheme's: name the scheme, or take it out"
                raise ProgramFault("key_index", text)
            return
        scheme = around.schemes.get(self.scheme)
        if scheme is None:
            text = f"add [verification.{self.scheme}] or correct the name"
            raise ProgramFault("scheme", f"nothing is named {self.scheme}: {text}")
        if isinstance(scheme, VisaPvv):
            if self.key_index is None or str(self.key_index) not in scheme.keys:
                text = "a Visa PVV scheme is used with the index of one of its keys: name it"
                raise ProgramFault("key_index", text)
            return
        if self.key_index is not None:
            raise ProgramFault("key_index", "an offset scheme has one key: take the index out")
        digits = scheme.pin_length or scheme.check_length
        if (self.pin_length.minimum, self.pin_length.maximum) != (digits, digits):
            text = f"the scheme is for PINs of {digits} digits: make both ends {digits}"
            raise ProgramFault("pin_length", text)

    def _rules(self, around: Surroundings) -> PinRules | None:
        """Give the rules for new PINs, which take every length that the program does."""
        if self.pin_length.minimum > self.pin_length.maximum:
            raise ProgramFault("pin_length", "the minimum is above the maximum: exchange them")
        if self.pin_rules is None:
            return None
        rules = around.rules.get(self.pin_rules)
        if rules is None:
            text = f"add [pin_rules.{self.pin_rules}] or correct the name"
            raise ProgramFault("pin_rules", f"nothing is named {self.pin_rules}: {text}")
        if not all(
            map(rules.pin_length.allows, (self.pin_length.minimum, self.pin_length.maximum))
        ):
            text = "the rules refuse PINs of some of these lengths: keep to theirs"
            raise ProgramFault("pin_length", text)
        return rules

    def _require_origins(self, around: Surroundings) -> None:
        for origin in self.origins:
            is_local = around.is_development and _LOCAL_ORIGIN.fullmatch(origin)
            if not (is_local or _ORIGIN.fullmatch(origin)):
                text = 'write an origin as "https://host", in lower case, without a path'
                raise ProgramFault("origins", f"not an origin: {text}")


def _window(option: str, text: str) -> Window:
    """Read a count and a period; what a program bounds has no burst beside its count."""
    try:
        rate = parse_rate(text)
    except RateError as error:
        raise ProgramFault(option, f"{error}: {error.remedy}") from None
    if rate.burst != rate.count:
        raise ProgramFault(option, "all of the count may come at once: take the burst out")
    return Window(count=rate.count, period_s=rate.period_s)
