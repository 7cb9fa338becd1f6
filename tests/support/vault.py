"""The PIN vault without server and token: its use cases over a store and a software device.

`Vault` builds a `CardDesk` over the address of a store that has its tables. Its keys are the same
in every process, so that any number of vaults can stand on one store. Time is what `clock` says.

`faults` numbers the steps of a call, from 0: every call of the HSM, and every transaction. A step
can be made to fail before it is done or after, and a caller can be made to die at it: `Crash` is
no Exception, so that nothing is cleaned up, as after kill -9.
"""

import base64
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from enum import Enum, auto
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm.errors import HsmError, HsmUnavailable
from pinvault.clearzone.card_zone import CardZone
from pinvault.client.sealing import SealingKey, seal
from pinvault.model.call import Call, Deadline
from pinvault.model.cards import (
    ByExternalId,
    ById,
    ByNumber,
    CardEvent,
    CardRef,
    CardStatus,
    PinUse,
    Program,
    TokenKind,
    Window,
)
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key, KeyDirectory
from pinvault.model.pan import Pan
from pinvault.model.pin_rules import PinRules
from pinvault.model.pins import EnvelopeSource, Format, PinBlockSource
from pinvault.model.profiles import Encoding as FieldEncoding
from pinvault.model.profiles import (
    Padding,
    PinLength,
    Plaintext,
    RsaFieldProfile,
    SealedJweProfile,
    SealedRsaProfile,
)
from pinvault.model.references import SchemeRef
from pinvault.model.verification import Ibm3624Scheme, ValidationLayout, VisaPvvScheme
from pinvault.operations.admission import Admission
from pinvault.operations.cards.answers import CardView, PinPlaced, PinVerdict
from pinvault.operations.cards.change_pin import ChangePin
from pinvault.operations.cards.check_pin import CheckPin
from pinvault.operations.cards.create_pin_session import CreatePinSession
from pinvault.operations.cards.desk import CardDesk, StoreKeys
from pinvault.operations.cards.get_card import GetCard
from pinvault.operations.cards.get_control_token import GetControlToken
from pinvault.operations.cards.issue_control_token import IssueControlToken
from pinvault.operations.cards.once import Request
from pinvault.operations.cards.open_pin_session import OpenPinSession
from pinvault.operations.cards.register_card import RegisterCard
from pinvault.operations.cards.reissue_pin import ReissuePin
from pinvault.operations.cards.reset_pin import ResetPin
from pinvault.operations.cards.reveal_pin import RevealPin
from pinvault.operations.cards.seals import Seals
from pinvault.operations.cards.set_card_status import SetCardStatus
from pinvault.operations.cards.set_pin import SetPin
from pinvault.operations.cards.submit_pin import SubmitPin
from pinvault.operations.cards.unblock_pin import UnblockPin
from pinvault.operations.route import Router
from pinvault.operations.schemes import Schemes
from pinvault.policy.grants import Grant, Grants
from pinvault.policy.limits import Limits, Nonces
from pinvault.policy.pan_index import PanIndex
from pinvault.policy.shared_table import SharedTable
from pinvault.policy.translation import Permission
from pinvault.store import Connection, Store, StoreError, StoreUnavailable, outbox
from pinvault.store.outbox import StoredMessage
from pinvault.store.schema import metadata
from tests.support import blocks
from tests.support.software_device import SoftwareDevice, held, key

T = TypeVar("T")

NOW = 1_770_000_000.0
LONGEST_CALL_S = 10.0
TODAY = date(2026, 6, 15)
CALLER = "card-app"
STRANGER = "other-app"
"""A caller whose rows name the program `other` alone."""
PAN = "4000001234562000"
OTHER_PAN = "5555555551234567"

KEYS = (
    key("pan-store", "D0", "AES_256", "B", version=1, state="decipher-only"),
    key("pan-store", "D0", "AES_256", "B", version=2),
    key("pin-reference", "P0", "AES_256", "B"),
    key("pin-reveal", "P0", "AES_256", "B"),
    key("zpk", "P0", "AES_128", "B"),
    key("zpk-3", "P0", "TDES_2KEY", "B"),
    key("pin-seal", "D1", "RSA_2048", "D", jwa="RSA-OAEP"),
    key("field-open", "D1", "RSA_2048", "D", jwa="RSA1_5"),
    key("partner", "D1", "RSA_2048", "E"),
    key("pvk", "V2", "TDES_2KEY", "C"),
    key("offset", "V1", "TDES_2KEY", "C"),
)
SCHEMES = {
    "visa": VisaPvvScheme(name="visa", keys={1: "pvk"}),
    "ibm": Ibm3624Scheme(
        name="ibm",
        key="offset",
        decimalisation_table="0123456789012345",
        validation=ValidationLayout(template="{account12}"),
        check_length=4,
        pin_length=4,
    ),
}
PROFILES = {
    "sealed-pan": SealedJweProfile(name="sealed-pan", key="pin-seal"),
    "sealed-card": SealedJweProfile(
        name="sealed-card", key="pin-seal", bind_pan=False, bind_card=True
    ),
    "sealed-free": SealedJweProfile(name="sealed-free", key="pin-seal", bind_pan=False),
    "field-in": SealedRsaProfile(
        name="field-in",
        key="field-open",
        plaintext=Plaintext.HEX_OF_DIGITS,
        encoding=FieldEncoding.HEX_LOWER,
        pin_length=PinLength(minimum=4, maximum=4),
        accept_pkcs1_v1_5=True,
    ),
    "partner": RsaFieldProfile(
        name="partner",
        key="partner",
        padding=Padding.PKCS1_V1_5,
        plaintext=Plaintext.HEX_OF_DIGITS,
        encoding=FieldEncoding.HEX_LOWER,
        pin_length=PinLength(minimum=4, maximum=4),
    ),
}
ORIGIN = "https://cards.example.org"
DEBIT = Program(
    name="debit",
    scheme=SchemeRef(name="visa", key_index=1),
    pin_length=PinLength(minimum=4, maximum=6),
    rules=PinRules(name="cards"),
    try_limit=3,
    reveal=False,
    changes=Window(count=10, period_s=86_400),
    reveals=Window(count=5, period_s=86_400),
    token_s={TokenKind.SET_PIN: 3600.0, TokenKind.REVEAL_PIN: 300.0},
    statuses={
        PinUse.SET: frozenset({CardStatus.INACTIVE, CardStatus.ACTIVE}),
        PinUse.CHECK: frozenset({CardStatus.ACTIVE}),
        PinUse.REVEAL: frozenset({CardStatus.ACTIVE}),
    },
    origins=(ORIGIN,),
)
"""PVV, nothing to reveal."""
PROGRAMS = {
    each.name: each
    for each in (
        DEBIT,
        replace(DEBIT, name="credit", scheme=None),
        replace(
            DEBIT,
            name="prepaid",
            scheme=SchemeRef(name="ibm"),
            pin_length=PinLength(minimum=4, maximum=4),
            reveal=True,
        ),
        replace(DEBIT, name="other", scheme=None, reveal=True),
    )
}
"""PVV; a reference block; an offset, and a block to reveal; and one that the caller may not use."""
METHODS = tuple(
    f"CardPinService.{name}"
    for name in (
        *("RegisterCard", "GetCard", "SetCardStatus", "IssueControlToken", "SetPin", "ChangePin"),
        *("ResetPin", "CheckPin", "RevealPin", "UnblockPin", "CreatePinSession", "OpenPinSession"),
        *("SubmitPin", "GetControlToken", "ReissuePin"),
    )
)


def rows(caller: str = CALLER, *programs: str, **row: Any) -> tuple[Grant, ...]:
    """Rows for every method, with all keys and profiles that a source can name."""
    everything = {
        "keys": frozenset({"zpk", "zpk-3"}),
        "formats": frozenset(Format),
        "profiles": frozenset(PROFILES),
        "programs": frozenset(programs or ("debit", "credit", "prepaid")),
        "translations": frozenset({Permission.BLOCK_TO_REVEAL}),
    }
    return tuple(
        Grant(callers=frozenset({caller}), method=method, **(everything | row))
        for method in METHODS
    )


class Crash(BaseException):
    """The process is gone; what would clean up is not run."""


class Fault(Enum):
    """How a step fails."""

    BEFORE = auto()
    """It is not done: the HSM or the store is away."""
    AFTER = auto()
    """It is done, and its answer is lost: a commit in doubt."""
    CRASH_BEFORE = auto()
    CRASH_AFTER = auto()


@dataclass
class Faults:
    """What fails, by the number of its step; `steps` are those that came by, by name.

    A step can fail by an error of the store's or the HSM's own too, before it is done; a
    transaction is then undone. A step of the other does not meet it.
    From `all_from` on, every step fails before it is done, as when something stays away.
    """

    at: dict[int, Fault | Exception] = field(default_factory=dict)
    all_from: int | None = None
    steps: list[str] = field(default_factory=list)

    def reset(self) -> None:
        """Begin to count anew, without faults."""
        self.at, self.all_from, self.steps = {}, None, []

    @contextmanager
    def step(self, name: str) -> Iterator[Exception | None]:
        """Do a step, or fail as is planned; give the error that is to undo a transaction."""
        fault = self.at.get(len(self.steps))
        if self.all_from is not None and len(self.steps) >= self.all_from:
            fault = fault or Fault.BEFORE
        self.steps.append(name)
        if fault is Fault.CRASH_BEFORE:
            raise Crash
        if fault is Fault.BEFORE:
            raise _away(name, in_doubt=False)
        own = StoreError if name in ("read", "write") else HsmError
        error = fault if isinstance(fault, own) else None
        if error is not None and name != "write":
            raise error
        yield error
        if fault is Fault.CRASH_AFTER:
            raise Crash
        if fault is Fault.AFTER:
            raise _away(name, in_doubt=True)


def _away(name: str, *, in_doubt: bool) -> Exception:
    if name in ("read", "write"):
        return StoreUnavailable("away", in_doubt=in_doubt and name == "write")
    return HsmUnavailable("away")


class FaultyStore:
    """A store whose transactions are steps."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self.store = store
        self._faults = faults

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._faults.step("read"), self.store.read() as db:
            yield db

    def transact(self, work: Callable[[Connection], T]) -> T:
        with self._faults.step("write") as error:

            def undone(db: Connection) -> T:
                done = work(db)
                if error is not None:
                    raise error
                return done

            return self.store.transact(undone)


class FaultyDevice(SoftwareDevice):
    """A device whose calls are steps: all of them are done in one line of `_reach`."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(held(each, secret_of(each)) for each in KEYS)
        self._faults = faults

    def _reach(self, name: str, timeout: float) -> None:
        with self._faults.step(name):
            super()._reach(name, timeout)


@dataclass
class Clock:
    """Unix seconds, as a test says."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


class Told:
    """Tells one endpoint of every event, in JSON."""

    def of(self, event: CardEvent) -> tuple[tuple[str, str], ...]:
        body = {"type": event.type, "card": event.card_id, "program": event.program, "at": event.at}
        told = {"external_id": event.external_id, "operation": event.operation}
        return (("everyone", json.dumps(body | told)),)


class Vault:
    """A desk over the store at `address`, and every use case by name; `host` is its folder.

    Vaults with one folder are workers of one host: they share limits and spent envelopes.
    """

    def __init__(
        self,
        address: str,
        host: Path,
        *,
        grants: tuple[Grant, ...] | None = None,
        programs: dict[str, Program] | None = None,
        clock: Clock | None = None,
        store: Store | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.faults = faults or Faults()
        self.store = store or Store.open(address)
        self.store_is_up = True
        self.device = FaultyDevice(self.faults)
        self.table = SharedTable.open(host / "limits.table", secret=bytes(32), slots=4096)
        self.programs = dict(PROGRAMS if programs is None else programs)
        self.directory = KeyDirectory(KEYS)
        self.desk = self._desk(grants or (*rows(), *rows(STRANGER, "other")))
        self.register = RegisterCard(self.desk)
        self.get = GetCard(self.desk)
        self.set_status = SetCardStatus(self.desk)
        self.issue = IssueControlToken(self.desk)
        self.set = SetPin(self.desk)
        self.change = ChangePin(self.desk)
        self.reset = ResetPin(self.desk)
        self.check = CheckPin(self.desk)
        self.reveal = RevealPin(self.desk)
        self.unblock = UnblockPin(self.desk)
        self.get_token = GetControlToken(self.desk)
        self.reissue = ReissuePin(self.desk)
        self.create_session = CreatePinSession(self.desk)
        self.open_session = OpenPinSession(self.desk)
        self.submit = SubmitPin(self.desk)

    def _desk(self, grants: tuple[Grant, ...]) -> CardDesk:
        router = Router(
            keys=self.directory,
            profiles=PROFILES,
            today=lambda: TODAY,
            kept_for_store=frozenset({"pan-store", "pin-reference", "pin-reveal"}),
        )
        return CardDesk(
            router=router,
            schemes=Schemes(router=router, verification=SCHEMES),
            admission=Admission(
                grants=Grants(grants),
                limits=Limits(self.table),
                pans=PanIndex(bytes(32)),
                now=self.clock,
            ),
            zone=CardZone(
                self.device, spend=Nonces(self.table).spend, now=self.clock, quantum_s=0.0001
            ),
            store=FaultyStore(self.store, self.faults),  # type: ignore[arg-type]
            programs=self.programs,
            index=PanIndex(bytes(range(32))),
            keys=StoreKeys(pan="pan-store", reference="pin-reference", reveal="pin-reveal"),
            events=Told(),
            seals=Seals(bytes(range(32, 64))),
            now=self.clock,
            is_up=lambda: self.store_is_up,
            longest_call_s=LONGEST_CALL_S,
        )

    def add(
        self,
        pan: str = PAN,
        *,
        program: str = "debit",
        sequence_number: str | None = None,
        status: CardStatus = CardStatus.ACTIVE,
        external_id: str | None = None,
        caller: str = CALLER,
        request: Request | None = None,
    ) -> CardView:
        """Register a card."""
        return self.register(
            call("RegisterCard", caller),
            program=program,
            pan=Pan(pan),
            sequence_number=sequence_number,
            expiry="3012",
            status=status,
            external_id=external_id,
            request=request or Request(),
        )

    def add_with_pin(self, digits: str = "7392", **card: Any) -> CardView:
        """Register a card and set its PIN."""
        added = self.add(**card)
        caller = card.get("caller", CALLER)
        self.set(
            call("SetPin", caller),
            card=ById(added.card_id),
            control_token=None,
            new=self.block(digits, pan=card.get("pan", PAN)),
        )
        return added

    def places(self, card_id: str, digits: str, *, pan: str = PAN, **how: Any) -> PinPlaced:
        """Set a PIN of a card."""
        new = self.block(digits, pan=pan)
        made = how.pop("call", None) or call("SetPin")
        return self.set(made, card=ById(card_id), control_token=None, new=new, **how)

    def redeems(self, token: str, digits: str = "7392", caller: str = CALLER) -> PinPlaced:
        """Set a PIN by a control token."""
        made = call("SetPin", caller)
        return self.set(made, card=None, control_token=token, new=self.block(digits))

    def changes(self, card_id: str, current: str, new: str, **how: Any) -> PinVerdict:
        """Change a PIN of a card."""
        return self.change(
            call("ChangePin"),
            card=ById(card_id),
            current=self.block(current),
            new=self.block(new),
            **how,
        )

    def resets(self, card_id: str, digits: str, **how: Any) -> PinPlaced:
        """Reset a PIN of a card."""
        new = self.block(digits)
        return self.reset(call("ResetPin"), card=ById(card_id), new=new, **how)

    def checks(
        self, card_id: str, digits: str, *, pan: str = PAN, request: Request | None = None
    ) -> PinVerdict:
        """Check a PIN of a card."""
        return self.check(
            call("CheckPin"),
            card=ById(card_id),
            source=self.block(digits, pan=pan),
            request=request or Request(),
        )

    def card(self, card_id: str, caller: str = CALLER) -> CardView:
        """Look at a card."""
        return self.get(call("GetCard", caller), card=ById(card_id))

    def told(self) -> list[str]:
        """The types of the messages that wait to be sent, by name."""
        return sorted(message.type for message in self.messages())

    def messages(self) -> tuple[StoredMessage, ...]:
        """The messages that wait to be sent."""
        with self.store.read() as db:
            return outbox.page(db, state="pending", after=None, count=1000)

    def block(
        self,
        digits: str = "7392",
        *,
        pan: str = PAN,
        under: str = "zpk/1",
        form: Format = Format.ISO_4,
    ) -> PinBlockSource:
        """A PIN block as a partner makes it, which takes no step of this vault."""
        bound = Pan(pan) if form.carries_pan else None
        each = self.directory.find(under, field="")
        made = blocks.encipher(_partner(), digits, under=each, form=form, pan=bound)
        return PinBlockSource(key=under, format=form, pan=bound, ciphertext=made)

    def envelope(
        self,
        digits: str = "7392",
        *,
        card: str | None = None,
        pan: str | None = None,
        profile: str = "",
        says_pan: bool = False,
    ) -> EnvelopeSource:
        """A PIN as a client seals it, for a card, or for a PAN that the call need not name."""
        sealed = seal(
            digits, key=_sealing_key(), pan=pan, card=card, expires=int(self.clock.now) + 120
        )
        return EnvelopeSource(
            profile=profile or ("sealed-card" if card is not None else "sealed-pan"),
            pan=Pan(pan) if says_pan and pan is not None else None,
            ciphertext=sealed,
        )

    def field(self, digits: str = "7392") -> EnvelopeSource:
        """A PIN as a sender enciphers it who knows PKCS #1 v1.5 and names no card."""
        text = digits.encode().hex().encode()
        sealed = _rsa_key().public_key().encrypt(text, padding.PKCS1v15())
        return EnvelopeSource(profile="field-in", pan=None, ciphertext=sealed.hex().encode())

    def snapshot(self, *but: str) -> dict[str, list[Any]]:
        """Everything in the store, by table; `but` names tables that do not matter."""
        with self.store.read() as db:
            return {
                table.name: sorted(map(repr, db.execute(table.select())))
                for table in metadata.sorted_tables
                if table.name not in but
            }

    def close(self) -> None:
        """Close the store."""
        self.store.close()


class Recipient:
    """A requester of a reveal, with a key of its own for one time."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        public = self._private.public_key()
        self.point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def open(self, envelope: str) -> dict[str, Any]:
        """Open what is sealed for this recipient (RFC 7518, 4.6)."""
        header, _, iv, sealed, tag = envelope.split(".")
        told = json.loads(_bytes(header))
        x, y = (int.from_bytes(_bytes(told["epk"][name])) for name in ("x", "y"))
        ephemeral = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        parties = (told["enc"].encode(), b"", _bytes(told["apv"]))
        other = b"".join(len(each).to_bytes(4) + each for each in parties) + (256).to_bytes(4)
        agreed = ConcatKDFHash(algorithm=hashes.SHA256(), length=32, otherinfo=other)
        content_key = agreed.derive(self._private.exchange(ec.ECDH(), ephemeral))
        body = _bytes(sealed) + _bytes(tag)
        clear = AESGCM(content_key).decrypt(_bytes(iv), body, header.encode())
        opened: dict[str, Any] = json.loads(clear)
        return opened


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Between:
    """Does something once, after a method of the vault's clear zone and before what follows it."""

    def __init__(self, vault: Vault, method: str, work: Callable[[], object]) -> None:
        self.vault, self.method, self.work = vault, method, work

    def __enter__(self) -> None:
        real = getattr(self.vault.desk.zone, self.method)

        def then(*args: object, **named: object) -> object:
            delattr(self.vault.desk.zone, self.method)
            made = real(*args, **named)
            self.work()
            return made

        setattr(self.vault.desk.zone, self.method, then)

    def __exit__(self, *_: object) -> None: ...


def call(method: str, caller: str = CALLER, *, seconds: float = 60) -> Call:
    """A call that passed the gate."""
    return Call(
        call_id="call",
        caller=caller,
        method=f"CardPinService.{method}",
        deadline=Deadline.after(seconds),
    )


def refused(work: Callable[[], object]) -> Refusal:
    """The refusal that a call meets."""
    try:
        work()
    except Refusal as refusal:
        return refusal
    raise AssertionError("not refused")


def reason_of(work: Callable[[], object]) -> Reason:
    """Why a call is refused."""
    return refused(work).reason


def by_number(pan: str = PAN, sequence_number: str | None = None) -> CardRef:
    """A card by its number."""
    return ByNumber(Pan(pan), sequence_number)


def by_external_id(external_id: str, program: str = "debit") -> CardRef:
    """A card by what its program's own systems call it."""
    return ByExternalId(program, external_id)


def secret_of(each: Key) -> Any:
    """The value of a key, the same in every process but for RSA keys."""
    if each.algorithm.startswith("RSA"):
        return _rsa_key()
    size = {"AES_256": 32}.get(each.algorithm, 16)
    return random.Random(each.id).randbytes(size)


@cache
def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def read_field(field: str) -> str:
    """The PIN in a field for the partner."""
    plain = _rsa_key().decrypt(bytes.fromhex(field), padding.PKCS1v15())
    return bytes.fromhex(plain.decode()).decode()


@cache
def _partner() -> SoftwareDevice:
    """The other end of the zone keys."""
    return SoftwareDevice(held(each, secret_of(each)) for each in KEYS)


@cache
def _sealing_key() -> SealingKey:
    public = _rsa_key().public_key()
    return SealingKey(kid="pin-seal/1", alg="RSA-OAEP", thumbprint="", public_key=public)
