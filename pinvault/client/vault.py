"""A pinvault server as its callers see it: a method a verb.

Rules:
- Every verb takes and gives plain values, and raises PinvaultError with the server's reason.
- Only what may safely be said twice is repeated when the server is away: PIN blocks, under
  verbs that make the same of them each time. An envelope and a DUKPT key serial number are
  used up by their call, a stored PIN is counted, and a generated one is another each time.
"""

import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Self

import grpc

from pinvault.client import columns, reading, writing
from pinvault.client.answers import (
    ChangedValue,
    EncryptedPin,
    EncryptedPinChange,
    GeneratedPin,
    GeneratedValue,
    KeyUse,
    PinChangeScript,
    TranslatedPin,
    TranslatedPins,
    VerifiedPin,
)
from pinvault.client.cards import Cards
from pinvault.client.channel import TIMEOUT_S, Connection, open_channel
from pinvault.client.keys import Keys
from pinvault.client.sealing import LIFETIME_S, SealingKey, seal
from pinvault.client.sealing_keys import SealingKeys
from pinvault.client.values import (
    Ibm3624Offset,
    NaturalPin,
    PackedPins,
    PinBlock,
    PinColumn,
    RandomPin,
    Scheme,
    SealedPin,
    Source,
    StoredBlock,
    StoredCard,
    Target,
    ToPinBlock,
    VerificationValue,
)
from pinvault.v1 import key_pb2, key_pb2_grpc, pin_block_pb2_grpc
from pinvault.v1 import pin_block_pb2 as pb


def connect(
    target: str,
    *,
    ca: Path | str | bytes,
    certificate: Path | str | bytes,
    private_key: Path | str | bytes,
    sealing_profile: str = "sealed-pin",
    sealing_key: str = "pin-seal",
    thumbprints: Collection[str] = (),
    timeout_s: float = TIMEOUT_S,
    channels: int = 1,
) -> "Vault":
    """Connect to `host:port` with mTLS; PEM as bytes, or the path of a file.

    `sealing_profile` and `sealing_key` name the server's incoming profile and its key.
    `thumbprints` (RFC 7638, base64url) pin that key: get them from the operator, the next
    one before a rotation. `channels` is how many connections take turns: several reach
    several servers behind a load balancer, and several workers of each.
    """
    channel = open_channel(
        target, ca=ca, certificate=certificate, private_key=private_key, channels=channels
    )
    return Vault(
        channel,
        sealing_profile=sealing_profile,
        sealing_key=sealing_key,
        thumbprints=thumbprints,
        timeout_s=timeout_s,
    )


class Vault:
    """A pinvault server. Safe to use from any number of threads; close it, or use `with`.

    `timeout_s` bounds a call in seconds, with all its attempts. `cards` has the verbs of the cards
    whose PINs the server keeps, `keys` those that change keys, for those who keep them.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        sealing_profile: str,
        sealing_key: str,
        thumbprints: Collection[str],
        timeout_s: float,
    ) -> None:
        self._connection = Connection(channel, timeout_s=timeout_s)
        self._pin_blocks = pin_block_pb2_grpc.PinBlockServiceStub(channel)
        self._key_service = key_pb2_grpc.KeyServiceStub(channel)
        self.cards = Cards(self._connection)
        self.keys = Keys(self._connection)
        self._sealing_profile = sealing_profile
        self._sealing_keys = SealingKeys(
            self._connection, name=sealing_key, thumbprints=thumbprints
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way fail."""
        self._connection.close()

    def seal(
        self,
        pin: str,
        *,
        pan: str | None = None,
        card: str | None = None,
        profile: str | None = None,
        lifetime_s: int = LIFETIME_S,
        caller: str | None = None,
    ) -> SealedPin:
        """Seal a PIN of 4 to 12 digits for one call.

        It is good for `lifetime_s` seconds and, with `pan` or with `card` (an id of the PIN
        vault), for that card only, with `caller` for the service of that identity. `profile` names
        the incoming profile where it is another than the connection's: one that binds cards takes
        nothing else. The first use fetches the server's public key. Raises SealingKeyChanged
        when it is no pinned one, ValueError (without the PIN) when the PIN is none or both PAN
        and card are given.
        """
        ciphertext = seal(
            pin,
            key=self.sealing_key(),
            pan=pan,
            card=card,
            expires=int(time.time()) + lifetime_s,
            caller=caller,
        )
        return SealedPin(profile=profile or self._sealing_profile, ciphertext=ciphertext, pan=pan)

    @property
    def sealing_profile(self) -> str:
        """The incoming profile under which `seal` seals unless it is told another."""
        return self._sealing_profile

    def sealing_key(self, *, refresh: bool = False) -> SealingKey:
        """Give the server's sealing key; it is fetched again every ten minutes, or to `refresh`."""
        return self._sealing_keys.current(refresh=refresh)

    def encrypt_pin(
        self, source: Source, *, to: Target, timeout_s: float | None = None
    ) -> EncryptedPin:
        """Have a PIN enciphered for a target."""
        reply = self._connection.call(
            self._pin_blocks.EncryptPin,
            pb.EncryptPinRequest(source=writing.source(source), target=writing.target(to)),
            repeatable=_repeatable(source, to),
            timeout_s=timeout_s,
        )
        block, envelope = reading.block_and_envelope(reply)
        return EncryptedPin(
            pin_block=block,
            envelope=envelope,
            source_key=reading.key_use(reply.source_key),
            target_key=reading.key_use(reply.target_key),
        )

    def encrypt_pin_change(
        self,
        *,
        profile: str,
        pan: str,
        new_pin: Source,
        old_pin: Source | None,
        timeout_s: float | None = None,
    ) -> EncryptedPinChange:
        """Have both PINs of a PIN change enciphered as the fields of a partner's profile."""
        reply = self._connection.call(
            self._pin_blocks.EncryptPinChange,
            pb.EncryptPinChangeRequest(
                profile=profile,
                pan=pan,
                new_source=writing.source(new_pin),
                old_source=writing.optional_source(old_pin),
            ),
            repeatable=_repeatable(new_pin, old_pin),
            timeout_s=timeout_s,
        )
        return EncryptedPinChange(
            pin_field=reply.pin_field,
            old_pin_field=reply.old_pin_field,
            source_keys=reading.key_uses(reply.source_keys),
            target_key=reading.key_use(reply.target_key),
        )

    def translate_pin(
        self, source: PinBlock, *, to: ToPinBlock, timeout_s: float | None = None
    ) -> TranslatedPin:
        """Have a PIN block translated to another key and format, for the same PAN."""
        reply = self._connection.call(
            self._pin_blocks.TranslatePin,
            pb.TranslatePinRequest(
                source=writing.block_source(source), target=writing.block_target(to)
            ),
            repeatable=_repeatable(source, to),
            timeout_s=timeout_s,
        )
        return TranslatedPin(
            pin_block=reply.pin_block,
            source_key=reading.key_use(reply.source_key),
            target_key=reading.key_use(reply.target_key),
        )

    def translate_pins(
        self,
        pins: Iterable[tuple[str | None, bytes]] | PackedPins,
        *,
        source: PinColumn,
        to: PinColumn,
        timeout_s: float | None = None,
    ) -> TranslatedPins:
        """Have up to 10,000 PIN blocks translated, each given with its PAN, or all packed.

        A refused item does not refuse the others. An account may stand only once in a batch.
        """
        packed = columns.packed(pins, source=source.format, target=to.format)
        reply = self._connection.call(
            self._pin_blocks.TranslatePinBatch,
            pb.TranslatePinBatchRequest(
                source=writing.column(source),
                target=writing.column(to),
                pin_blocks=packed.pin_blocks,
                pans=packed.pans,
            ),
            repeatable=True,
            timeout_s=timeout_s,
        )
        statuses, blocks = columns.unpack(reply.statuses, reply.pin_blocks, target=to.format)
        return TranslatedPins(
            statuses=statuses,
            pin_blocks=blocks,
            source_key=reading.key_use(reply.source_key),
            target_key=reading.key_use(reply.target_key),
        )

    def verify_pin(
        self,
        source: Source,
        *,
        pan: str,
        reference: VerificationValue | PinBlock,
        timeout_s: float | None = None,
    ) -> VerifiedPin:
        """Have a PIN verified by its PVV, its offset, or another PIN block.

        The number of tries a card has is not counted here.
        """
        request = pb.VerifyPinRequest(source=writing.source(source), pan=pan)
        if isinstance(reference, PinBlock):
            request.pin_block.CopyFrom(writing.block_source(reference))
            repeatable = _repeatable(source, reference)
        else:
            request.verification_value.CopyFrom(writing.verification_value(reference))
            repeatable = _repeatable(source)
        reply = self._connection.call(
            self._pin_blocks.VerifyPin, request, repeatable=repeatable, timeout_s=timeout_s
        )
        return VerifiedPin(
            matches=reading.matches(reply.result),
            source_key=reading.key_use(reply.source_key),
            reference_key=reading.key_use(reply.reference_key),
        )

    def generate_verification_value(
        self, source: Source, *, pan: str, scheme: Scheme, timeout_s: float | None = None
    ) -> GeneratedValue:
        """Have the PVV or offset of a PIN made."""
        reply = self._connection.call(
            self._pin_blocks.GenerateVerificationValue,
            pb.GenerateVerificationValueRequest(
                source=writing.source(source), pan=pan, scheme=writing.scheme(scheme)
            ),
            repeatable=_repeatable(source),
            timeout_s=timeout_s,
        )
        return GeneratedValue(
            value=reading.verification_value(reply.verification_value),
            source_key=reading.key_use(reply.source_key),
            verification_key=reading.key_use(reply.verification_key),
        )

    def change_verification_value(
        self,
        *,
        pan: str,
        current_pin: Source,
        new_pin: Source,
        reference: VerificationValue | StoredBlock,
        timeout_s: float | None = None,
    ) -> ChangedValue:
        """Have the current PIN verified and what stands for the new one made, both or neither."""
        request = pb.ChangeVerificationValueRequest(
            current_source=writing.source(current_pin),
            new_source=writing.source(new_pin),
            pan=pan,
        )
        if isinstance(reference, StoredBlock):
            request.pin_block.CopyFrom(writing.stored_block(reference))
            repeatable = _repeatable(current_pin, new_pin, reference.current, reference.to)
        else:
            request.verification_value.CopyFrom(writing.verification_value(reference))
            repeatable = _repeatable(current_pin, new_pin)
        reply = self._connection.call(
            self._pin_blocks.ChangeVerificationValue,
            request,
            repeatable=repeatable,
            timeout_s=timeout_s,
        )
        return ChangedValue(
            matches=reading.matches(reply.result),
            value=reading.optional_value(reply),
            pin_block=reply.pin_block if reply.HasField("pin_block") else None,
            source_keys=reading.key_uses(reply.source_keys),
            reference_keys=reading.key_uses(reply.reference_keys),
        )

    def generate_pin(
        self,
        *,
        pan: str,
        method: RandomPin | NaturalPin | Ibm3624Offset,
        to: Target,
        scheme: Scheme | None = None,
        timeout_s: float | None = None,
    ) -> GeneratedPin:
        """Have a PIN generated in the HSM's zone; with `scheme`, its PVV or offset too."""
        reply = self._connection.call(
            self._pin_blocks.GeneratePin,
            writing.generate_pin(pan=pan, method=method, to=to, value_scheme=scheme),
            repeatable=False,
            timeout_s=timeout_s,
        )
        block, envelope = reading.block_and_envelope(reply)
        return GeneratedPin(
            pin_block=block,
            envelope=envelope,
            value=reading.optional_value(reply),
            target_key=reading.key_use(reply.target_key),
            verification_keys=reading.key_uses(reply.verification_keys),
        )

    def encrypt_pin_change_script(
        self,
        *,
        script: str,
        pan: str,
        application_cryptogram: bytes,
        message_data: bytes,
        new_pin: Source,
        current_pin: Source | None = None,
        pan_sequence_number: int = 0,
        timeout_s: float | None = None,
    ) -> PinChangeScript:
        """Have a new PIN enciphered for the chip of a card, with the MAC of its command.

        `application_cryptogram` is the ARQC of the transaction, 8 bytes; `message_data`, 5 to
        64 bytes, is what the MAC covers before the enciphered PIN.
        """
        reply = self._connection.call(
            self._pin_blocks.EncryptPinChangeScript,
            pb.EncryptPinChangeScriptRequest(
                script=script,
                pan=pan,
                pan_sequence_number=pan_sequence_number,
                application_cryptogram=application_cryptogram,
                message_data=message_data,
                new_source=writing.source(new_pin),
                current_source=writing.optional_source(current_pin),
            ),
            repeatable=_repeatable(new_pin, current_pin),
            timeout_s=timeout_s,
        )
        return PinChangeScript(
            enciphered_pin=reply.enciphered_pin,
            mac=reply.mac,
            source_keys=reading.key_uses(reply.source_keys),
            script_keys=reading.key_uses(reply.script_keys),
        )

    def list_keys(self) -> list[KeyUse]:
        """List the keys that this caller may know of."""
        found: list[KeyUse] = []
        request = key_pb2.ListKeysRequest()
        while True:
            reply = self._connection.call(self._key_service.ListKeys, request, repeatable=True)
            found += map(reading.key_use, reply.keys)
            if not reply.next_page_token:
                return found
            request.page_token = reply.next_page_token


def _repeatable(*parts: Source | Target | None) -> bool:
    """Whether none of what a call names is used up by it."""
    return not any(
        isinstance(part, SealedPin | StoredCard)
        or (isinstance(part, PinBlock | ToPinBlock) and part.dukpt is not None)
        for part in parts
    )
