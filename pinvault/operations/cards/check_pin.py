"""CheckPin: whether a PIN is the card's. A wrong one costs a try, the right one gives all back.

The HSM does the same for both; what is written down at the end differs.
"""

from dataclasses import dataclass

from pinvault.model.call import Call
from pinvault.model.cards import CardRef, PinUse
from pinvault.model.pins import PinSource
from pinvault.operations.cards import kept, trial, uses
from pinvault.operations.cards.answers import PinVerdict
from pinvault.operations.cards.desk import CardDesk
from pinvault.operations.cards.intake import Source, admit
from pinvault.operations.cards.once import NO_ID, Once, Request
from pinvault.store import Connection


@dataclass(frozen=True, slots=True)
class CheckPin:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(
        self,
        call: Call,
        *,
        card: CardRef,
        source: PinSource,
        request: Request = NO_ID,
    ) -> PinVerdict:
        """Tell whether it is the PIN, or refuse; a wrong PIN is no refusal."""
        desk, once = self.desk, Once(self.desk, call, request, PinVerdict)
        if (told := once.told()) is not None:
            return told
        known = desk.find(call, card, PinUse.CHECK)
        trial.require_tries(desk, known)
        admitted = admit(desk, call, known, Source(source=source, at="source"))
        (sealed,) = admitted.sources
        counted = trial.begin(desk, known, once)
        with once.released():
            with trial.nothing_compared(desk, counted):
                reference = kept.reference(desk, counted, admitted.pan)
                checked = desk.zone.check(sealed, reference, admitted.pan, admitted.terms)
            call.notes.opened_by(*checked.openers, kept.key_of(reference))

            def end(db: Connection) -> PinVerdict:
                if checked.result:
                    state = trial.right(db, known, counted)
                else:
                    state = trial.wrong(db, desk, known, counted)
                uses.spend(db, desk, checked.spent)
                verdict = PinVerdict(
                    matches=checked.result,
                    tries_left=state.tries_left,
                    blocked=state.blocked,
                    set_at=None,
                    source_keys=checked.openers,
                    stored_keys=(kept.key_of(reference),),
                )
                once.finish(db, verdict)
                return verdict

            return desk.write(end)
