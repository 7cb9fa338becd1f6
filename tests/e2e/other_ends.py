"""Who stands at the other end of a verb: terminals, cards, senders and partners.

They compute with `cryptography` and psec alone; no code of the clear zone is used.
"""

import base64
import json
import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from psec import mac, pinblock

from pinvault.client import PinBlock, PinvaultError, ToPinBlock
from pinvault.client.sealing import SealingKey
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from pinvault.v1 import key_pb2, key_pb2_grpc
from tests.support import running, zone

PAN = "5555555551234567"
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
SHARED_INFO = bytes.fromhex("70696E7661756C74")
KEY_VARIANT = 0xC0C0C0C000000000C0C0C0C000000000
PIN_VARIANT = 0x00000000000000FF00000000000000FF
AES_INDICATORS = {"TDES_2KEY": (0, 128), "TDES_3KEY": (1, 192), "AES_128": (2, 128)}


def tdes(key: bytes, data: bytes) -> bytes:
    return Cipher(TripleDES((key * 3)[:24]), modes.ECB()).encryptor().update(data)


def aes(key: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data)


# A zone of terminals, and that of a switch.


def key_for(form: str, zone_name: str) -> str:
    return f"{zone_name}-aes" if form == "ISO_4" else zone_name


def terminal(
    environment: Environment, pin: str, *, form: zone.Format = "ISO_3", pan: str = PAN
) -> PinBlock:
    """What a terminal sends."""
    name = key_for(form, "zpk-terminal")
    ciphertext = zone.block(pin, pan=pan, form=form, key=environment.zone_key(name))
    return PinBlock(
        key=name, format=form, ciphertext=ciphertext, pan=None if form == "ISO_1" else pan
    )


def switch(form: zone.Format = "ISO_3", pan: str = PAN) -> ToPinBlock:
    return ToPinBlock(key=key_for(form, "zpk-switch"), format=form, pan=pan)


def at_the_switch(
    environment: Environment, block: bytes | None, form: zone.Format = "ISO_3", pan: str = PAN
) -> str:
    assert block is not None
    key = environment.zone_key(key_for(form, "zpk-switch"))
    return zone.pin_of(block, pan=pan, form=form, key=key)


def reason_of(call: Callable[[], object]) -> str:
    with pytest.raises(PinvaultError) as refused:
        call()
    return refused.value.reason


# Terminals with DUKPT: the key of a counter hangs on that of the counter without its lowest bit.


def aes_pin_key(base: bytes, ksn: bytes, working_key: str) -> bytes:
    """X9.24-3:2017, 6.3, for an AES-128 base key and a KSN of 12 bytes."""
    device, counter = ksn[4:8], int.from_bytes(ksn[8:])
    key = _child(base, 0x8001, "AES_128", ksn[:8])
    for counted in _way(counter):
        key = _child(key, 0x8000, "AES_128", device + counted.to_bytes(4))
    return _child(key, 0x1000, working_key, ksn[4:])


def _child(parent: bytes, usage: int, algorithm: str, context: bytes) -> bytes:
    indicator, bits = AES_INDICATORS[algorithm]
    made = b"".join(
        aes(parent, struct.pack(">BBHHH", 1, block, usage, indicator, bits) + context)
        for block in range(1, -(-bits // 128) + 1)
    )
    return made[: bits // 8]


def tdes_pin_key(base: bytes, ksn: bytes) -> bytes:
    """X9.24-1:2009, A.2 to A.4, for a KSN of 10 bytes."""
    number = int.from_bytes(ksn)
    counter = number & 0x1FFFFF
    terminal = (number - counter).to_bytes(10)
    key = tdes(base, terminal[:8]) + tdes(_added(base, KEY_VARIANT), terminal[:8])
    for counted in _way(counter):
        register = int.from_bytes(terminal[2:]) + counted
        key = _half(_added(key, KEY_VARIANT), register) + _half(key, register)
    return _added(key, PIN_VARIANT)


def _half(key: bytes, register: int) -> bytes:
    right = int.from_bytes(key[8:])
    made = tdes(key[:8] * 3, (register ^ right).to_bytes(8))
    return (int.from_bytes(made) ^ right).to_bytes(8)


def _added(key: bytes, mask: int) -> bytes:
    return (int.from_bytes(key) ^ mask).to_bytes(len(key))


def _way(counter: int) -> list[int]:
    way = []
    while counter:
        way.insert(0, counter)
        counter &= counter - 1
    return way


# Cards (EMV Book 2): option A of A1.4.1, and the common session keys of A1.3.1.


@dataclass(frozen=True, repr=False)
class Card:
    """A card of at most 16 PAN digits, with the master keys of its issuer."""

    pan: str
    sequence: int
    cryptogram: bytes
    confidentiality: bytes
    integrity: bytes
    cryptograms: bytes

    def key(self, master: bytes) -> bytes:
        y = bytes.fromhex(f"{self.pan}{self.sequence:02}"[-16:])
        return tdes(master, y) + tdes(master, bytes(byte ^ 0xFF for byte in y))

    def session_key(self, master: bytes) -> bytes:
        first, last = self.cryptogram[:2], self.cryptogram[3:]
        halves = (first + third + last for third in (b"\xf0", b"\x0f"))
        return b"".join(tdes(self.key(master), half) for half in halves)

    def read(self, enciphered: bytes) -> bytes:
        key = (self.session_key(self.confidentiality) * 2)[:24]
        return Cipher(TripleDES(key), modes.ECB()).decryptor().update(enciphered)

    def mac(self, command: bytes) -> bytes:
        key = self.session_key(self.integrity)
        return mac.generate_retail_mac(key[:8] * 3, key[8:] * 3, command, 2)

    def udk_half(self) -> bytes:
        left = self.key(self.cryptograms)[4:8]
        return bytes(byte ^ (byte.bit_count() + 1 & 1) for byte in left)


# Senders and partners of envelopes.


def jwk(server: RunningServer, key: str) -> key_pb2.JsonWebKey:
    with running.channel(server) as channel:
        stub = key_pb2_grpc.KeyServiceStub(channel)
        reply = stub.GetPublicKey(key_pb2.GetPublicKeyRequest(key=key), timeout=5)
    return reply.jwks.keys[0]


def rsa_key(found: key_pb2.JsonWebKey) -> rsa.RSAPublicKey:
    return SealingKey.from_jwk(kid=found.kid, alg=found.alg, n=found.n, e=found.e).public_key


def lithic(pin: str, key: rsa.RSAPublicKey) -> bytes:
    content = {"nonce": 10**9 + secrets.randbelow(10**9), "pin": pin}
    return base64.b64encode(key.encrypt(json.dumps(content).encode(), OAEP))


def adyen(pin: str, key: rsa.RSAPublicKey) -> bytes:
    content_key, token = secrets.token_bytes(32), f"{secrets.randbelow(10**16):016}"
    return _json(
        encryptedKey=key.encrypt(content_key, OAEP).hex().upper(),
        encryptedPinBlock=pinblock.encipher_pinblock_iso_4(content_key, pin, token).hex().upper(),
        token=token,
    )


def phone(pin: str, pan: str, found: key_pb2.JsonWebKey) -> bytes:
    x, y = (int.from_bytes(base64.urlsafe_b64decode(part + "=")) for part in (found.x, found.y))
    theirs = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    ours = ec.generate_private_key(ec.SECP256R1())
    block = pinblock.encipher_pinblock_iso_4(_agreed(ours, theirs), pin, pan)
    point = ours.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return _json(
        ephemeralPublicKey=base64.b64encode(point).decode(), encryptedPinBlock=block.hex().upper()
    )


def on_the_phone(envelope: str, pan: str, key: ec.EllipticCurvePrivateKey) -> str:
    read = json.loads(envelope)
    point = base64.b64decode(read["ephemeralPublicKey"])
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    block = bytes.fromhex(read["encryptedPinBlock"])
    return pinblock.decipher_pinblock_iso_4(_agreed(key, theirs), block, pan)


def _agreed(ours: ec.EllipticCurvePrivateKey, theirs: ec.EllipticCurvePublicKey) -> bytes:
    shared = ours.exchange(ec.ECDH(), theirs)
    return ConcatKDFHash(hashes.SHA256(), 32, SHARED_INFO).derive(shared)


def _json(**members: Any) -> bytes:
    return json.dumps(members).encode()
