"""The steps of a key ceremony: each custodian in turn, then all together, then the key.

Rules:
- Every custodian says which file they reviewed, proves who they are, types their component twice
  without seeing it, and gives its check value from their own paper.
- A second wrong answer ends the ceremony, and so do an interruption and an idle terminal. The
  key is loaded in the last step, so whatever ends before it leaves nothing behind.
- Every custodian agrees to the combined key with a second proof, made over its check value.
- A component is a `KeyComponent` as soon as it was typed, and wiped at the end.
- A rehearsal takes the same steps and loads nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Protocol

from pinvault.ceremony.people import Asks, Custodian, NotProved, prove
from pinvault.ceremony.plan import COMPONENT_BYTES, Plan
from pinvault.ceremony.transcript import KeyFacts, Result, Step, attributes
from pinvault.model.custody import KeyComponent, WantedKey
from pinvault.model.errors import Refusal
from pinvault.model.keys import Algorithm, Key

TRIES: Final = 2
"""How often a custodian may answer before the ceremony ends."""
REVIEWED_DIGITS: Final = 16
"""How much of the file's SHA-256 a custodian must have on their paper, in hex digits."""
NONCE_BYTES: Final = 16
SHORT_DIGITS: Final = 6
"""The short form of a check value, in hex digits."""
LOAD_TIMEOUT_S: Final = 30.0


class Aborted(Exception):
    """The ceremony ends here; `cause` is a word for transcript and audit record."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Terminal(Asks, Protocol):
    """The terminal that the custodians share. What is not answered in time raises Aborted."""

    def say(self, text: str) -> None:
        """Show a text."""


class Custody(Protocol):
    """What a ceremony needs of the service's key custody."""

    def component_check_value(self, component: KeyComponent, algorithm: Algorithm) -> str:
        """Give the check value of one component."""

    def combined_check_value(
        self, components: Sequence[KeyComponent], algorithm: Algorithm, *, variant: bytes | None
    ) -> str:
        """Give the check value of the key that the components make."""

    def load_components(
        self,
        wanted: WantedKey,
        components: Sequence[KeyComponent],
        *,
        variant: bytes | None,
        check_value: str | None,
        previous_until: date | None,
        timeout: float,
    ) -> Key:
        """Load the key that the components make, and give it as the key ring has it now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a ceremony ended. `fault` is what refused or failed, to be told once all is written."""

    result: Result
    cause: str
    key: KeyFacts
    steps: tuple[Step, ...]
    loaded: Key | None = None
    fault: Exception | None = None


class _Wrong(Exception):
    """An answer is wrong; the text tells the custodian what to do, and repeats nothing."""


class Procedure:
    """One ceremony, held once. `nonce` gives random bytes, `now` the time in UTC.

    `no_return` is called when nothing may interrupt any more: before the key is loaded, and at
    every end, which is still to be written down.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        rehearsal: bool,
        terminal: Terminal,
        custody: Custody,
        nonce: Callable[[int], bytes],
        now: Callable[[], datetime],
        no_return: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._rehearsal = rehearsal
        self._terminal = terminal
        self._custody = custody
        self._nonce = nonce
        self._now = now
        self._no_return = no_return
        self._typed: list[KeyComponent] = []
        self._components: list[KeyComponent] = []
        self._steps: list[Step] = []
        self._check_value = ""
        self._loaded: Key | None = None

    def run(self) -> Ending:
        """Take all steps, and tell how it ended; raises nothing but what ends the process."""
        try:
            return self._end(self._take_all())
        except Aborted as aborted:
            return self._end("aborted", aborted.cause)
        except KeyboardInterrupt:
            return self._end("aborted", "interrupted")
        except Refusal as refusal:
            return self._end("refused", refusal.reason.value.lower(), refusal)
        except Exception as fault:  # noqa: BLE001 - told once the transcript is written
            return self._end("failed", "fault", fault)
        finally:
            for component in self._typed:
                component.wipe()

    def _take_all(self) -> Result:
        everyone = self._plan.custodians
        self._announce()
        for number, custodian in enumerate(everyone, 1):
            self._say(f"\n--- {custodian.name}: to the keyboard. Everybody else: look away. ---")
            self._tried(custodian, "review", self._review)
            self._tried(custodian, "identity", lambda who: self._prove(who, "identify"))
            self._tried(custodian, "component", self._take_component)
            self._say(f"Component {number} of {len(everyone)} is in.")
        self._combine()
        for custodian in everyone:
            self._say(f"\n--- {custodian.name}: do you agree to this key? ---")
            self._tried(custodian, "agreement", lambda who: self._prove(who, "agree"))
        if self._rehearsal:
            return "rehearsed"
        self._no_return()
        self._loaded = self._custody.load_components(
            self._plan.wanted,
            self._components,
            variant=self._plan.variant,
            check_value=self._check_value,
            previous_until=self._plan.key.previous_until,
            timeout=LOAD_TIMEOUT_S,
        )
        return "loaded"

    def _announce(self) -> None:
        mark = "REHEARSAL. Type test components: a key's own would be spent.\n" * self._rehearsal
        self._say(f"{mark}Ceremony file: {self._plan.path.name}\nKey: {self._plan.key.name}")
        self._say_attributes()
        for number, custodian in enumerate(self._plan.custodians, 1):
            self._say(f"Custodian {number}: {custodian.name}")

    def _review(self, custodian: Custodian) -> None:
        """Have the custodian say which file they reviewed: it may be another by now."""
        prompt = f"First {REVIEWED_DIGITS} digits of the SHA-256 of the file that you reviewed"
        said = self._terminal.ask(prompt).strip().lower()
        if len(said) < REVIEWED_DIGITS or not self._plan.sha256.startswith(said):
            raise _Wrong("This is another file than the one you reviewed.")
        self._note(custodian, "reviewed the ceremony file")

    def _prove(self, custodian: Custodian, purpose: str) -> None:
        statement = "\n".join(
            [
                "pinvault key ceremony v1",
                f"{purpose}{' in a rehearsal' * self._rehearsal}: {custodian.name}",
                f"{self._plan.sha256} {self._plan.key.name} {self._check_value}",
                self._nonce(NONCE_BYTES).hex(),
            ]
        )
        try:
            signature = prove(
                custodian,
                self._plan.custodians,
                statement.encode(),
                self._terminal,
                now=self._now,
            )
        except NotProved:
            raise _Wrong("That does not prove who you are.") from None
        done = "proved who they are" if purpose == "identify" else "agreed to the key"
        self._note(custodian, done, statement=statement if signature else "", signature=signature)

    def _take_component(self, custodian: Custodian) -> None:
        """Take a component twice, and its check value from the custodian's paper."""
        component = self._type("Your component")
        if not component.same_as(self._type("Your component, once more")):
            raise _Wrong("You typed two different components.")
        if component.is_zero:
            raise _Wrong("A component of zeros adds nothing: it is not one.")
        if any(component.same_as(other) for other in self._components):
            raise Aborted("equal-components")
        algorithm = self._plan.key.algorithm
        measured = self._custody.component_check_value(component, algorithm)
        if algorithm.startswith("TDES") and not component.has_odd_parity:
            self._say("Note: its bytes have not all odd parity.")
        if not _agrees(self._terminal.ask("Its check value, from your paper"), measured):
            raise _Wrong(f"Its check value is {measured}, which is not that of your paper.")
        self._say(f"Its check value is {measured}, as on your paper.")
        self._components.append(component)
        self._note(custodian, f"gave component {len(self._components)}", check_value=measured)

    def _type(self, prompt: str) -> KeyComponent:
        """Take a component that is shown nowhere; it is wiped when the ceremony ends."""
        size = COMPONENT_BYTES[self._plan.key.algorithm]
        line = self._terminal.hidden(prompt)
        try:
            component = KeyComponent.from_hex(line)
        except ValueError:
            component = None
        finally:
            line[:] = bytes(len(line))
        if component is not None:
            self._typed.append(component)
        if component is None or component.length != size:
            raise _Wrong(f"A component of this key is {2 * size} hex digits.")
        return component

    def _combine(self) -> None:
        key = self._plan.key
        self._check_value = self._custody.combined_check_value(
            self._components, key.algorithm, variant=self._plan.variant
        )
        self._say(f"\nThe components make {key.name}, check value {self._check_value}")
        self._say_attributes()
        if key.check_value and not _agrees(key.check_value, self._check_value):
            self._say(f"The reviewed file expects {key.check_value}: a component is wrong.")
            raise Aborted("check-value")

    def _tried(self, custodian: Custodian, what: str, attempt: Callable[[Custodian], None]) -> None:
        """Let a custodian answer, and once more if it was wrong; then end the ceremony."""
        for left in reversed(range(TRIES)):
            try:
                return attempt(custodian)
            except _Wrong as wrong:
                self._note(custodian, f"gave a wrong answer: {what}")
                self._say(f"{wrong} Once more." if left else str(wrong))
        raise Aborted(what)

    def _note(
        self,
        custodian: Custodian,
        done: str,
        *,
        check_value: str = "",
        statement: str = "",
        signature: str = "",
    ) -> None:
        self._steps.append(
            Step(
                time=self._now().strftime("%Y-%m-%dT%H:%M:%SZ"),
                who=custodian.name,
                done=done,
                check_value=check_value,
                statement=statement,
                signature=signature,
            )
        )

    def _say(self, text: str) -> None:
        self._terminal.say(text)

    def _say_attributes(self) -> None:
        for name, value in attributes(self._facts()):
            self._say(f"{name:<16}{value}")

    def _facts(self) -> KeyFacts:
        key = self._plan.key
        return KeyFacts(
            id=self._loaded.id if self._loaded else key.name,
            usage=key.usage,
            algorithm=key.algorithm,
            mode=key.mode,
            exportability=key.exportability,
            valid_until=key.valid_until.isoformat() if key.valid_until else "",
            variant=bool(key.variant),
            check_value=self._check_value,
        )

    def _end(self, result: Result, cause: str = "", fault: Exception | None = None) -> Ending:
        self._no_return()
        return Ending(
            result=result,
            cause=cause,
            key=self._facts(),
            steps=tuple(self._steps),
            loaded=self._loaded,
            fault=fault,
        )


def _agrees(said: str, measured: str) -> bool:
    """Tell whether a check value is the measured one or its short form."""
    said = said.strip().upper()
    return len(said) >= SHORT_DIGITS and measured.startswith(said)
