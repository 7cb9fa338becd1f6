"""An attacker with a valid certificate and broad grants: asks the whole gate, notes all it tells.

Rules:
- The attacker knows the public keys and has seen PIN blocks; `terminal` makes the blocks that
  are seen, and counts among no calls of the HSM.
- What is told is everything that comes back, and how often the HSM was asked for it.
"""

import io
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from pinvault.clearzone.encipher import BlockCipher
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.parcels import BlockToMake, Transaction
from pinvault.clearzone.pin import Pin
from pinvault.client.sealing import seal
from pinvault.model.batch import PAN_BYTES
from pinvault.model.call import Deadline
from pinvault.model.dukpt import Dukpt
from pinvault.model.keys import Algorithm, Mode
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.server.messages import ALGORITHMS, FORMATS
from pinvault.v1 import pin_block_pb2 as pb
from pinvault.v1 import resources_pb2 as rs
from tests.support import blocks, core
from tests.support.core import LEGACY, ORDINARY, Core, FakeContext, Setting
from tests.support.software_device import SoftwareDevice, held, key

PAN = "4000001234562000"
OTHER_PAN = "5555555551234567"
NAMES = {form: name for name, form in FORMATS.items()}
COLUMNS = {
    form: pb.ColumnFormat.Value(f"COLUMN_FORMAT_{form.value}")
    for form in (Format.ISO_0, Format.ISO_1, Format.ISO_3, Format.ISO_4)
}
UNDER = dict.fromkeys(Format, "zpk") | {
    Format.ISO_4: "zpk-aes",
    **{form: each.name for form, each in LEGACY.items()},
}
"""The key under which the service opens blocks of a format, by its name."""
TERMINAL_KEYS = (
    key("zpk-terminal", "P0", "TDES_3KEY", "B"),
    key("zpk-switch", "P0", "TDES_3KEY", "B"),
    key("zpk", "P0", "TDES_2KEY", "B"),
    key("zpk-aes", "P0", "AES_128", "B"),
    key("bdk", "B0", "AES_128", "X"),
    key("bdk-tdes", "B0", "TDES_2KEY", "X"),
    key("bdk-tdes-variant", "B0", "TDES_2KEY", "X"),
    *(replace(each, mode=Mode.B) for each in LEGACY.values()),
)
BY_NAME = {each.name: each for each in TERMINAL_KEYS}


@dataclass(frozen=True)
class Told:
    """All that came back of one call; `face` is without the call's id, `hsm` is sorted."""

    reason: str
    face: tuple[object, ...]
    hsm: tuple[tuple[str, int], ...]
    answer: bytes = field(repr=False)


@dataclass(frozen=True)
class Ksn:
    """The key serial number of a block, and the algorithm of its key."""

    value: bytes
    working_key: Algorithm = Algorithm.TDES_2KEY


@dataclass
class Attacker:
    """The service, and the other ends of its keys."""

    core: Core
    log: io.StringIO
    terminal: SoftwareDevice

    def ask(self, method: str, request: Message) -> Told:
        """Make a call of PinBlockService."""
        context = FakeContext()
        self.core.device.calls.clear()
        answer = self.core.call(f"PinBlockService.{method}", request.SerializeToString(), context)
        hsm = tuple(sorted(self.core.device.calls.items()))
        if context.code is None:
            return Told("OK", ("OK", len(answer)), hsm, answer)
        reason, face = face_of(context)
        return Told(reason, (*face, answer), hsm, answer)

    def sealed(self, pin: str, pan: str = PAN, profile: str = "sealed-pin") -> rs.PinSource:
        """Seal a PIN of the attacker's choice, as anybody can who has the public key."""
        expires = int(time.time()) + 60
        return envelope(
            seal(pin, key=self.core.sealing_key, pan=pan, expires=expires), profile, pan
        )

    def block(
        self,
        pin: str,
        *,
        pan: str = PAN,
        form: Format = Format.ISO_0,
        under: str = "zpk-terminal",
        ksn: Ksn | None = None,
    ) -> rs.PinBlockSource:
        """Give a PIN block as a terminal makes it."""
        transaction = None
        if ksn is not None:
            variant = BY_NAME.get(f"{under}-variant")
            dukpt = Dukpt(ksn=ksn.value, working_key=ksn.working_key)
            transaction = Transaction(dukpt=dukpt, variant=variant)
        to_make = BlockToMake(
            key=BY_NAME[under],
            format=form,
            pan=Pan(pan) if form.carries_pan else None,
            transaction=transaction,
        )
        cipher = BlockCipher(self.terminal)
        ciphertext = cipher.encipher(Pin(pin.encode()), to_make, Deadline.after(60))
        return seen(ciphertext, pan=pan, form=form, under=under, ksn=ksn)

    def raw(self, clear: bytes, *, under: str = "zpk-terminal") -> bytes:
        """Encipher any whole block under a zone key."""
        return self.terminal.encipher(f"{under}/1", clear, timeout=1)

    def pin_in(
        self,
        ciphertext: bytes,
        *,
        pan: str = PAN,
        form: Format = Format.ISO_0,
        under: str = "zpk-switch",
    ) -> str:
        """Read a PIN block, as the end that is meant to does."""
        bound_to = Pan(pan) if form.carries_pan else None
        with blocks.decipher(
            self.terminal, ciphertext, under=BY_NAME[under], form=form, pan=bound_to
        ) as pin:
            return digits_of(pin).decode()


def attacker(
    folder: Path,
    setting: Setting = ORDINARY,
    *,
    zone_keys: dict[str, bytes] | None = None,
    quantum_s: float = 0.0001,
) -> Attacker:
    """Build the service and stand before it; `quantum_s` is the time class of refusals."""
    log = io.StringIO()
    built = core.build(
        folder, log, now=time.time, quantum_s=quantum_s, setting=setting, zone_keys=zone_keys
    )
    terminal = SoftwareDevice([held(each, built.zone_keys[each.name]) for each in TERMINAL_KEYS])
    return Attacker(built, log, terminal)


def face_of(context: FakeContext) -> tuple[str, tuple[object, ...]]:
    """Give the reason, and all that the caller sees but for the call's id, which has 36 letters."""
    ((name, raw),) = context.trailers
    status = status_pb2.Status.FromString(raw)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert len(info.metadata.pop("call_id")) == 36
    status.details[0].Pack(info)
    assert isinstance(context.code, grpc.StatusCode)
    face = (context.code, context.details, name, len(raw), status.SerializeToString())
    return info.reason, face


# Requests


def format_of(form: Format, pan: str = PAN) -> rs.PinBlockFormat:
    message = rs.PinBlockFormat()
    chosen = getattr(message, NAMES[form])
    chosen.SetInParent()
    if form.carries_pan:
        chosen.pan = pan
    return message


def dukpt_of(ksn: Ksn | None) -> rs.Dukpt | None:
    if ksn is None:
        return None
    return rs.Dukpt(key_serial_number=ksn.value, working_key_algorithm=ALGORITHMS[ksn.working_key])


def seen(
    ciphertext: bytes,
    *,
    pan: str = PAN,
    form: Format = Format.ISO_0,
    under: str = "zpk-terminal",
    ksn: Ksn | None = None,
) -> rs.PinBlockSource:
    return rs.PinBlockSource(
        key=under, format=format_of(form, pan), ciphertext=ciphertext, dukpt=dukpt_of(ksn)
    )


def to(
    pan: str = PAN, *, form: Format = Format.ISO_0, under: str = "zpk-switch"
) -> rs.PinBlockTarget:
    return rs.PinBlockTarget(key=under, format=format_of(form, pan))


def envelope(ciphertext: bytes, profile: str = "sealed-pin", pan: str | None = PAN) -> rs.PinSource:
    return rs.PinSource(
        envelope=rs.EnvelopeSource(profile=profile, ciphertext=ciphertext, pan=pan or "")
    )


def source(block: rs.PinBlockSource | rs.PinSource) -> rs.PinSource:
    return block if isinstance(block, rs.PinSource) else rs.PinSource(pin_block=block)


def pvv(value: str) -> rs.VerificationValue:
    scheme = rs.VisaPvvScheme(name="visa", key_index=1)
    return rs.VerificationValue(visa_pvv=rs.VisaPvv(scheme=scheme, pvv=value))


def offset(value: str, scheme: str = "ibm") -> rs.VerificationValue:
    ibm = rs.Ibm3624Scheme(name=scheme)
    return rs.VerificationValue(ibm_3624_offset=rs.Ibm3624Offset(scheme=ibm, offset=value))


def translate(
    block: rs.PinBlockSource, target: rs.PinBlockTarget | None = None
) -> pb.TranslatePinRequest:
    return pb.TranslatePinRequest(source=block, target=target or to())


def encrypt(
    given: rs.PinBlockSource | rs.PinSource, target: rs.PinBlockTarget | None = None
) -> pb.EncryptPinRequest:
    return pb.EncryptPinRequest(source=source(given), target=rs.PinTarget(pin_block=target or to()))


def verify(
    given: rs.PinBlockSource | rs.PinSource,
    reference: rs.VerificationValue | rs.PinBlockSource,
    pan: str = PAN,
) -> pb.VerifyPinRequest:
    request = pb.VerifyPinRequest(source=source(given), pan=pan)
    if isinstance(reference, rs.PinBlockSource):
        request.pin_block.CopyFrom(reference)
    else:
        request.verification_value.CopyFrom(reference)
    return request


def change(
    current: rs.PinBlockSource | rs.PinSource,
    new: rs.PinBlockSource | rs.PinSource,
    reference: rs.VerificationValue | tuple[rs.PinBlockSource, rs.PinBlockTarget],
    pan: str = PAN,
) -> pb.ChangeVerificationValueRequest:
    request = pb.ChangeVerificationValueRequest(
        current_source=source(current), new_source=source(new), pan=pan
    )
    if isinstance(reference, tuple):
        known, target = reference
        request.pin_block.CopyFrom(pb.ReferenceBlock(current=known, target=target))
    else:
        request.verification_value.CopyFrom(reference)
    return request


def batch(
    blocks: list[bytes],
    pans: list[str],
    *,
    form: Format = Format.ISO_0,
    target: Format | None = None,
) -> pb.TranslatePinBatchRequest:
    """Ask for a column; PANs are packed as they are, whatever they are."""
    return pb.TranslatePinBatchRequest(
        source=pb.PinBlockColumn(key="zpk-terminal", format=COLUMNS[form]),
        target=pb.PinBlockColumn(key="zpk-switch", format=COLUMNS[target or form]),
        pin_blocks=b"".join(blocks),
        pans=b"".join(bytes.fromhex(pan.ljust(2 * PAN_BYTES, "f")) for pan in pans),
    )


def generate_value(
    given: rs.PinBlockSource | rs.PinSource, scheme: str, pan: str = PAN
) -> pb.GenerateVerificationValueRequest:
    return pb.GenerateVerificationValueRequest(
        source=source(given), pan=pan, scheme=scheme_of(scheme)
    )


def scheme_of(name: str) -> rs.VerificationScheme:
    if name == "visa":
        return rs.VerificationScheme(visa_pvv=rs.VisaPvvScheme(name=name, key_index=1))
    return rs.VerificationScheme(ibm_3624=rs.Ibm3624Scheme(name=name))


def matches(told: Told) -> bool:
    """Read the answer of VerifyPin."""
    assert told.reason == "OK"
    return pb.VerifyPinResponse.FromString(told.answer).result == rs.PIN_VERIFICATION_MATCH
