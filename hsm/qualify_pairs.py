"""Trials of key pairs: sealed things are opened, keys unwrapped, secrets agreed, digests signed.

Rules:
- The other side is always software: pyca/cryptography seals, opens, agrees and verifies.
- Pairs have the templates of their roles, and content keys that of the service.
- What a bad ciphertext looks like is told by the token's return values; each is read as the service
  would read it.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pkcs11 import Mechanism
from pkcs11.exceptions import PKCS11Error

from hsm import agreement, unwrapping
from hsm.errors import Fault, HsmDataRefused, return_value
from hsm.mechanisms import Operation, RsaPadding, invocation
from hsm.qualify_bench import RSA_BITS, Bench, Shortfall, expect, in_software, name_of, trial
from hsm.vocabulary import Algorithm, Family, Mode, Usage

_HASHES: Final[Mapping[RsaPadding, hashes.HashAlgorithm]] = MappingProxyType(
    {
        RsaPadding.OAEP_SHA1: hashes.SHA1(),  # noqa: S303  many tokens know no other
        RsaPadding.OAEP_SHA256: hashes.SHA256(),
    }
)
_TOLERATED: Final = frozenset({Fault.DATA, Fault.UNCLEAR, Fault.REFUSAL})
"""Faults after which a known answer decides whether the data or the device is bad."""


def oaep(chosen: RsaPadding) -> padding.OAEP:
    """The software's side of an OAEP padding."""
    algorithm = _HASHES[chosen]
    return padding.OAEP(padding.MGF1(algorithm), algorithm, label=None)


def decrypt(private: Any, sealed: bytes, chosen: RsaPadding) -> bytes:
    """C_Decrypt as the service calls it."""
    how = invocation(Operation.RSA_DECRYPT, Family.RSA, chosen)
    return bytes(private.decrypt(sealed, mechanism=how.mechanism, mechanism_param=how.parameter))


def unwrap(private: Any, sealed: bytes, chosen: RsaPadding) -> None:
    """C_UnwrapKey as the service calls it; the key is used once and destroyed."""
    how = invocation(Operation.UNWRAP, Family.RSA, chosen)
    with unwrapping.unwrapped(private, sealed, how, algorithm=Algorithm.AES_256):
        return


def working_hash(bench: Bench) -> RsaPadding:
    """The first padding by which a sealed message opens; the first refusal when none does."""
    public, private = bench.pair(Usage.D1, Family.RSA, Mode.D)
    refused: PKCS11Error | None = None
    for chosen in _HASHES:
        try:
            decrypt(private, public.encrypt(bytes(32), oaep(chosen)), chosen)
        except PKCS11Error as error:
            refused = refused or error
        else:
            return chosen
    raise refused or Shortfall("nothing sealed can be opened")


def _oaep_decrypt(bench: Bench, chosen: RsaPadding) -> str:
    public, private = bench.pair(Usage.D1, Family.RSA, Mode.D)
    message = os.urandom(32)
    expect(decrypt(private, public.encrypt(message, oaep(chosen)), chosen) == message)
    return "works"


def _oaep_unwrap(bench: Bench, chosen: RsaPadding) -> str:
    public, private = bench.pair(Usage.K0, Family.RSA, Mode.D)
    value, block, algorithm = os.urandom(32), os.urandom(16), Algorithm.AES_256
    sealed, how = (
        public.encrypt(value, oaep(chosen)),
        invocation(Operation.UNWRAP, Family.RSA, chosen),
    )
    with unwrapping.unwrapped(private, sealed, how, algorithm=algorithm) as cipher:
        expect(cipher.decipher(in_software(algorithm, value, block)) == block)
    return "works"


def _gcm(bench: Bench) -> str:
    """A JWE's content, under a key unwrapped by whichever hash works."""
    public, private = bench.pair(Usage.K0, Family.RSA, Mode.D)
    value, iv, message = os.urandom(32), os.urandom(12), os.urandom(20)
    contents = AESGCM(value).encrypt(iv, message, b"header")
    chosen = working_hash(bench)
    sealed, how = (
        public.encrypt(value, oaep(chosen)),
        invocation(Operation.UNWRAP, Family.RSA, chosen),
    )
    with unwrapping.unwrapped(private, sealed, how, algorithm=Algorithm.AES_256) as cipher:
        expect(cipher.open_gcm(iv=iv, aad=b"header", sealed=contents) == message)
    return f"works, by {chosen}"


def _partner(bench: Bench, chosen: RsaPadding) -> str:
    """A message for a partner, who opens it in software."""
    partner = rsa.generate_private_key(65537, RSA_BITS)
    public = bench.load_public(partner.public_key())
    message, how = os.urandom(32), invocation(Operation.RSA_ENCRYPT, Family.RSA, chosen)
    sealed = public.encrypt(message, mechanism=how.mechanism, mechanism_param=how.parameter)
    undo = oaep(chosen) if chosen in _HASHES else padding.PKCS1v15()
    try:
        opened = partner.decrypt(bytes(sealed), undo)
    except ValueError:
        opened = b""
    expect(opened == message)
    return "works"


def _agree(bench: Bench) -> str:
    public, private = bench.pair(Usage.K3, Family.EC, Mode.X)
    peer = ec.generate_private_key(ec.SECP256R1())
    secret = agreement.agree(private, agreement.encode(peer.public_key()))
    expect(secret == peer.exchange(ec.ECDH(), public))
    return "works"


def _sign(bench: Bench) -> str:
    public, private = bench.pair(Usage.S0, Family.EC, Mode.S)
    digest = os.urandom(32)
    raw = bytes(private.sign(digest, mechanism=Mechanism.ECDSA))
    r, s = (int.from_bytes(half, "big") for half in (raw[:32], raw[32:]))
    encoded = utils.encode_dss_signature(r, s)
    try:
        public.verify(encoded, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    except InvalidSignature:
        raise Shortfall("the signature does not verify") from None
    return "works"


def _bad_ciphertexts(bench: Bench, usage: Usage) -> str:
    """What the token answers to ciphertexts that are no one's, and that it is sound afterwards."""
    public, private = bench.pair(usage, Family.RSA, Mode.D)
    opens = decrypt if usage is Usage.D1 else unwrap
    chosen = working_hash(bench)
    good = public.encrypt(bytes(32), oaep(chosen))
    other = public.encrypt(bytes(32), padding.PKCS1v15())
    answers: dict[str, list[str]] = {}
    for name, bad in (
        ("another padding", other),
        ("random", b"\0" + os.urandom(len(good) - 1)),
        ("too short", good[:-1]),
        ("too long", good + b"\0"),
        ("empty", b""),
    ):
        answer, fault = _answer(partial(opens, private, bad, chosen))
        answers.setdefault(answer, []).append(name)
        expect(fault in _TOLERATED, f"{name}: {answer}")
    opens(private, good, chosen)
    return "; ".join(f"{answer}: {', '.join(names)}" for answer, names in answers.items())


def _answer(attempt: Callable[[], object]) -> tuple[str, Fault | None]:
    """The name and reading of what the token answers; no fault when it opens what it should not."""
    try:
        attempt()
    except PKCS11Error as error:
        return name_of(error), return_value(error).fault
    except HsmDataRefused:
        return "another length", Fault.DATA
    return "opened", None


_OAEP: Final = (Mechanism.RSA_PKCS_OAEP,)
_OTHER_HASH: Final = "give sealing and transport keys the algorithm (jwa) that works here"
_NO_SEALING: Final = "accept no sealed PINs: a bad ciphertext would pass for a dead device"

TRIALS: Final = (
    trial(
        "sign the audit log",
        "C_Sign",
        (Mechanism.ECDSA,),
        _sign,
        lost="everything: no answer without a record",
        vital=True,
    ),
    *(
        trial(
            f"open what is sealed, {chosen}",
            "C_Decrypt",
            _OAEP,
            _oaep_decrypt,
            chosen,
            lost=f"sealed PINs by {chosen}",
            remedy=_OTHER_HASH,
        )
        for chosen in _HASHES
    ),
    *(
        trial(
            f"unwrap a content key, {chosen}",
            "C_UnwrapKey",
            _OAEP,
            _oaep_unwrap,
            chosen,
            lost=f"JWE envelopes and key transport by {chosen}",
            remedy=_OTHER_HASH,
        )
        for chosen in _HASHES
    ),
    trial(
        "open AES-GCM under an unwrapped key",
        "C_UnwrapKey, C_Decrypt",
        (Mechanism.RSA_PKCS_OAEP, Mechanism.AES_GCM),
        _gcm,
        lost="JWE envelopes",
    ),
    *(
        trial(
            f"encrypt for a partner, {chosen}",
            "C_CreateObject, C_Encrypt",
            (invocation(Operation.RSA_ENCRYPT, Family.RSA, chosen).mechanism,),
            _partner,
            chosen,
            lost=f"partners who want {chosen}",
        )
        for chosen in RsaPadding
    ),
    trial(
        "agree on a secret",
        "C_DeriveKey",
        (Mechanism.ECDH1_DERIVE,),
        _agree,
        lost="envelopes by key agreement",
    ),
    *(
        trial(
            name,
            call,
            _OAEP,
            _bad_ciphertexts,
            usage,
            lost="sealed PINs",
            remedy=_NO_SEALING,
        )
        for name, call, usage in (
            ("refuse bad ciphertexts", "C_Decrypt", Usage.D1),
            ("refuse badly wrapped keys", "C_UnwrapKey", Usage.K0),
        )
    ),
)
"""Every trial of a key pair, in the order of the report."""
