"""The grants table: who may call which method, and for what.

Rules:
- Deny by default: what no row says is refused.
- One row must cover all that a call asks for; two rows do not add up.
- Rows name callers, methods, keys, profiles, schemes and programs exactly: there are no patterns.
- A row may also bind what it lets through: the length of PINs, and the rules for new ones. Of cards
  that the service keeps, these stand in the card's program.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from pinvault.model.errors import Reason, Refusal
from pinvault.model.pin_rules import PinRules
from pinvault.model.pins import Format
from pinvault.model.profiles import PinLength
from pinvault.policy.limits import Rate
from pinvault.policy.translation import Permission


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One row of the table. `per_caller` and `per_pan` bound how often it may be used.

    `schemes` names verification schemes and script profiles, `programs` those of cards that the
    service keeps; PINs outside `pin_length` do not open, and new PINs keep `pin_rules`.
    """

    callers: frozenset[str]
    method: str
    keys: frozenset[str] = frozenset()
    formats: frozenset[Format] = frozenset()
    profiles: frozenset[str] = frozenset()
    translations: frozenset[Permission] = frozenset()
    schemes: frozenset[str] = frozenset()
    programs: frozenset[str] = frozenset()
    pin_length: PinLength | None = None
    pin_rules: PinRules | None = None
    per_caller: Rate | None = None
    per_pan: Rate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one call needs of a row; key names are without version."""

    keys: Collection[str] = ()
    formats: Collection[Format] = ()
    profiles: Collection[str] = ()
    translations: Collection[Permission] = ()
    schemes: Collection[str] = ()
    programs: Collection[str] = ()


_NARROWINGS: tuple[tuple[Callable[[Grant, Ask], bool], Reason], ...] = (
    (lambda row, ask: row.programs.issuperset(ask.programs), Reason.PROGRAM_NOT_GRANTED),
    (lambda row, ask: row.keys.issuperset(ask.keys), Reason.KEY_NOT_GRANTED),
    (lambda row, ask: row.profiles.issuperset(ask.profiles), Reason.PROFILE_NOT_GRANTED),
    (lambda row, ask: row.schemes.issuperset(ask.schemes), Reason.SCHEME_NOT_GRANTED),
    (lambda row, ask: row.formats.issuperset(ask.formats), Reason.FORMAT_NOT_GRANTED),
    (
        lambda row, ask: row.translations.issuperset(ask.translations),
        Reason.TRANSLATION_NOT_GRANTED,
    ),
)


class Grants:
    """The rows, found by caller and method."""

    def __init__(self, rows: Iterable[Grant]) -> None:
        self._rows: dict[tuple[str, str], tuple[Grant, ...]] = {}
        for row in rows:
            for caller in row.callers:
                where = caller, row.method
                self._rows[where] = (*self._rows.get(where, ()), row)

    def rows(self, *, caller: str, method: str) -> tuple[Grant, ...]:
        """Give the caller's rows for the method, at least one, or refuse."""
        found = self._rows.get((caller, method))
        if not found:
            raise Refusal(Reason.METHOD_NOT_GRANTED)
        return found

    def permit(self, ask: Ask, *, caller: str, method: str) -> Grant:
        """Give the first row that covers all of `ask`, or refuse and say what was not covered."""
        rows: Sequence[Grant] = self.rows(caller=caller, method=method)
        for covers, reason in _NARROWINGS:
            rows = [row for row in rows if covers(row, ask)]
            if not rows:
                raise Refusal(reason)
        return rows[0]
