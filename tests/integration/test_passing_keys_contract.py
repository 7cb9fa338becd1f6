"""One contract for keys of one call: derived, unwrapped, agreed upon; on both devices."""

from collections import Counter
from functools import partial

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hsm.device import Algorithm, RsaPadding, Step
from hsm.errors import HsmDataRefused, HsmTimeout, OperationNotPermitted, UnknownKey
from tests.integration.conftest import AES_256_VALUE, PARTNERS_EC, der
from tests.integration.hsm.support import BDK_VALUE, TDES_3KEY_VALUE, TDES_VALUE

OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), label=None)
DATA = bytes(range(48))
IV = bytes(range(12))
BASES = {
    "bdk/1": BDK_VALUE,
    "bdk-256/1": AES_256_VALUE,
    "smc/1": TDES_VALUE,
    "smi/1": TDES_3KEY_VALUE,
}
"""Values of the keys that may derive."""


def ecb(value: bytes, *, tdes: bool) -> Cipher:
    algorithm = TripleDES((value * 2)[:24]) if tdes else algorithms.AES(value)
    return Cipher(algorithm, modes.ECB())


def follow(value: bytes, path, *, tdes: bool) -> Cipher:
    """The cipher at the end of a path, with every key in the clear."""
    for step in path:
        enciphered = ecb(value, tdes=tdes).encryptor().update(step.data)
        value = enciphered[: step.algorithm.bits // 8]
        tdes = step.algorithm.name.startswith("TDES")
    return ecb(value, tdes=tdes)


TDES_PATHS = [
    (Step(Algorithm.TDES_2KEY, bytes(range(16))),),
    (Step(Algorithm.TDES_3KEY, bytes(range(24))),),
    (Step(Algorithm.TDES_3KEY, bytes(range(8)) * 3),),  # three equal parts: single DES
    (Step(Algorithm.TDES_2KEY, bytes(24)), Step(Algorithm.TDES_3KEY, bytes(range(32)))),
]
AES_PATHS = [
    (Step(Algorithm.AES_128, bytes(range(16))),),
    (Step(Algorithm.AES_192, bytes(range(32))),),
    (Step(Algorithm.AES_256, bytes(range(32))),),
    (Step(Algorithm.TDES_2KEY, bytes(16)),),
    (Step(Algorithm.AES_128, bytes(16)), Step(Algorithm.TDES_3KEY, bytes(32))),
    tuple(Step(Algorithm.AES_128, bytes([n] * 16)) for n in range(18)),
]
ROUTES = [
    *((base, path) for base in ("bdk/1", "bdk-256/1") for path in AES_PATHS),
    *((base, path) for base in ("smc/1", "smi/1") for path in TDES_PATHS),
]


@pytest.mark.parametrize(("base", "path"), ROUTES)
def test_the_cipher_is_that_of_the_derived_key(device, base, path):
    expected = follow(BASES[base], path, tdes=base.startswith("sm"))

    def work(cipher):
        return cipher.encipher(DATA), cipher.decipher(DATA)

    assert device.with_derived(base, path, work, timeout=5) == (
        expected.encryptor().update(DATA),
        expected.decryptor().update(DATA),
    )


def test_a_published_dukpt_key_is_derived(device):
    # ANSI X9.24-3:2017, supplement: BDK, KSN 123456789012345600000001, PIN encryption key AES-128.
    transaction = bytes.fromhex("9012345600000001")
    path = (
        Step(Algorithm.AES_128, bytes.fromhex("01018001000200801234567890123456")),
        Step(Algorithm.AES_128, bytes.fromhex("0101800000020080") + transaction),
        Step(Algorithm.AES_128, bytes.fromhex("0101100000020080") + transaction),
    )
    expected = ecb(bytes.fromhex("AF8CB133A78F8DC2D1359F18527593FB"), tdes=False)
    deciphered = device.with_derived("bdk/1", path, lambda cipher: cipher.decipher(DATA), timeout=5)
    assert deciphered == expected.decryptor().update(DATA)


CHILD = (Step(Algorithm.AES_128, bytes(16)),)
BAD_PATHS = {
    "empty": ("bdk/1", ()),
    "AES below TDES": ("smc/1", CHILD),
    "AES below TDES below AES": ("bdk/1", (Step(Algorithm.TDES_2KEY, bytes(16)), *CHILD)),
    "RSA": ("bdk/1", (Step(Algorithm.RSA_2048, bytes(256)),)),
    "HMAC": ("bdk/1", (Step(Algorithm.HMAC_SHA256, bytes(32)),)),
    "no data": ("bdk/1", (Step(Algorithm.AES_128, b""),)),
    "part of a block": ("bdk/1", (Step(Algorithm.AES_128, bytes(24)),)),
    "part of a TDES block": ("smc/1", (Step(Algorithm.TDES_2KEY, bytes(17)),)),
    "too short": ("bdk/1", (Step(Algorithm.AES_256, bytes(16)),)),
    "too short for AES-192": ("bdk/1", (Step(Algorithm.AES_192, bytes(16)),)),
    "too short at its end": ("bdk/1", (*CHILD, Step(Algorithm.TDES_3KEY, bytes(16)))),
}


@pytest.mark.parametrize(("key", "path"), BAD_PATHS.values(), ids=BAD_PATHS)
def test_a_path_that_cannot_be_gone_is_refused(device, key, path):
    before = Counter(getattr(device, "calls", ()))
    with pytest.raises(ValueError):
        device.with_derived(key, path, never, timeout=5)
    assert Counter(getattr(device, "calls", ())) == before


def test_a_step_does_not_show_its_data():
    assert "data" not in repr(Step(Algorithm.AES_128, bytes(16)))


def never(cipher):
    raise AssertionError("work is never begun")


class WorkError(Exception):
    """What the caller's own work may raise."""


@pytest.mark.parametrize("error", [WorkError("of work"), HsmDataRefused("of work"), KeyError(1)])
def test_what_work_raises_passes_unchanged(device, error):
    def work(cipher):
        raise error

    with pytest.raises(type(error)) as derived:
        device.with_derived("bdk/1", CHILD, work, timeout=5)
    assert derived.value is error
    with pytest.raises(type(error)) as unwrapped:
        unwrap(device, seal(device, bytes(16)), work, Algorithm.AES_128)
    assert unwrapped.value is error


def test_a_passing_cipher_takes_whole_blocks(device):
    for blocks in (b"", bytes(15), bytes(17)):
        for method in ("encipher", "decipher"):
            with pytest.raises(ValueError):
                device.with_derived(
                    "bdk/1",
                    CHILD,
                    lambda cipher, method=method, blocks=blocks: getattr(cipher, method)(blocks),
                    timeout=5,
                )


def test_below_a_decipher_only_key_nothing_is_enciphered(device):
    expected = follow(BDK_VALUE, CHILD, tdes=False).decryptor().update(DATA)
    decipher, encipher = (lambda c: c.decipher(DATA)), (lambda c: c.encipher(DATA))
    assert device.with_derived("bdk-old/1", CHILD, decipher, timeout=5) == expected
    with pytest.raises(OperationNotPermitted):
        device.with_derived("bdk-old/1", CHILD, encipher, timeout=5)


def seal(device, value: bytes) -> bytes:
    return serialization.load_der_public_key(device.public_key("transport/1")).encrypt(value, OAEP)


def unwrap(device, wrapped, work, algorithm=Algorithm.AES_256, padding=RsaPadding.OAEP_SHA1):
    return device.with_unwrapped(
        "transport/1", wrapped, work, padding=padding, algorithm=algorithm, timeout=5
    )


@pytest.mark.parametrize("algorithm", [Algorithm.AES_128, Algorithm.AES_192, Algorithm.AES_256])
def test_a_wrapped_key_deciphers_and_opens(device, algorithm):
    value = bytes(range(algorithm.bits // 8))
    expected = ecb(value, tdes=False).decryptor().update(DATA)
    wrapped = seal(device, value)
    assert unwrap(device, wrapped, lambda c: c.decipher(DATA), algorithm) == expected
    for message, aad in ((b"", b""), (b"x", b"header"), (bytes(5000), b"h" * 300)):
        sealed = AESGCM(value).encrypt(IV, message, aad)
        open_it = partial(open_gcm, iv=IV, aad=aad, sealed=sealed)
        assert unwrap(device, wrapped, open_it, algorithm) == message


def open_gcm(cipher, **parts):
    return cipher.open_gcm(**parts)


def test_a_wrapped_key_enciphers_nothing(device):
    with pytest.raises(OperationNotPermitted):
        unwrap(device, seal(device, bytes(32)), lambda cipher: cipher.encipher(DATA))


def test_every_bad_envelope_has_one_face(device, partner):
    sealed = AESGCM(bytes(32)).encrypt(IV, b"message", b"header")
    good = {"iv": IV, "aad": b"header", "sealed": sealed}
    wrapped = seal(device, bytes(32))
    bad = [
        *((bytes_, good) for bytes_ in (b"", bytes(256), b"\x01" * 255, b"\x01" * 257)),
        *((bytes_, good) for bytes_ in (b"\xff" * 256, b"\x5a" * 256)),
        (partner.public_key().encrypt(bytes(32), OAEP), good),
        *((seal(device, bytes(length)), good) for length in (0, 1, 15, 17, 31, 33, 64)),
        (seal(device, b"\x01" * 32), good),
        (wrapped, good | {"aad": b"Header"}),
        (wrapped, good | {"iv": bytes(12)}),
        *((wrapped, good | {"iv": bytes(length)}) for length in (0, 11, 13, 16)),
        (wrapped, good | {"sealed": sealed[:-1] + bytes([sealed[-1] ^ 1])}),
        (wrapped, good | {"sealed": bytes([sealed[0] ^ 1]) + sealed[1:]}),
        *((wrapped, good | {"sealed": sealed[:length]}) for length in (0, 15, 16, 22)),
    ]
    faces = set()
    for wrapped_key, parts in bad:
        with pytest.raises(HsmDataRefused) as caught:
            unwrap(device, wrapped_key, partial(open_gcm, **parts))
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        faces.add((str(caught.value), caught.value.args))
    assert len(faces) == 1
    assert unwrap(device, wrapped, partial(open_gcm, **good)) == b"message"


def test_a_key_that_is_wrong_is_refused_before_work_sees_it(device):
    with pytest.raises(HsmDataRefused):
        unwrap(device, seal(device, bytes(17)), never)


@pytest.mark.parametrize("wrong", [RsaPadding.PKCS1_V1_5, RsaPadding.OAEP_SHA256])
def test_a_key_is_unwrapped_with_its_own_padding_only(device, wrong):
    with pytest.raises(OperationNotPermitted):
        unwrap(device, bytes(256), never, padding=wrong)


def test_only_aes_keys_are_unwrapped(device):
    for algorithm in (Algorithm.TDES_2KEY, Algorithm.HMAC_SHA256):
        with pytest.raises(ValueError):
            unwrap(device, bytes(256), never, algorithm=algorithm)


def test_both_sides_agree(device):
    public = serialization.load_der_public_key(device.public_key("agree/1"))
    other = ec.generate_private_key(ec.SECP256R1())
    expected = other.exchange(ec.ECDH(), public)
    assert device.agree("agree/1", der(other.public_key()), timeout=5) == expected
    assert device.agree("agree/1", point_of(other), timeout=5) == expected
    assert len(expected) == 32


def test_a_partners_half_is_read_and_agreed_with(device):
    peer = device.public_key("agree-with/1")
    assert peer == der(PARTNERS_EC.public_key())
    public = serialization.load_der_public_key(device.public_key("agree/1"))
    assert device.agree("agree/1", peer, timeout=5) == PARTNERS_EC.exchange(ec.ECDH(), public)


def point_of(private) -> bytes:
    return private.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def test_what_is_no_point_of_the_curve_is_refused(device, partner):
    point = point_of(PARTNERS_EC)
    bad = (
        b"",
        b"\x00",
        point[:64],
        point + b"\x00",
        point[:-1] + bytes([point[-1] ^ 1]),
        b"\x04" + bytes(64),
        b"\x05" + point[1:],
        der(partner.public_key()),
        der(ec.generate_private_key(ec.SECP384R1()).public_key()),
        der(ec.generate_private_key(ec.SECP256K1()).public_key()),
    )
    for peer in bad:
        with pytest.raises(ValueError, match="no public key on P-256"):
            device.agree("agree/1", peer, timeout=5)


def derive(device, key, timeout=5):
    return device.with_derived(key, CHILD, never, timeout=timeout)


def unwrap_with(device, key, timeout=5):
    return device.with_unwrapped(
        key,
        bytes(256),
        never,
        padding=RsaPadding.OAEP_SHA1,
        algorithm=Algorithm.AES_128,
        timeout=timeout,
    )


def agree(device, key, timeout=5):
    return device.agree(key, point_of(PARTNERS_EC), timeout=timeout)


@pytest.mark.parametrize(
    ("ask", "key"),
    [
        *((derive, key) for key in ("aes-b/1", "bdk-tdes/1", "agree/1", "transport/1")),
        *((unwrap_with, key) for key in ("seal/1", "partner/1", "bdk/1")),
        *((agree, key) for key in ("agree-with/1", "sign/1", "bdk/1")),
    ],
)
def test_other_keys_do_not_give_keys(device, ask, key):
    with pytest.raises(OperationNotPermitted) as caught:
        ask(device, key)
    assert caught.value.facts["key"] == key


@pytest.mark.parametrize(
    ("ask", "key"), [(derive, "bdk/1"), (unwrap_with, "transport/1"), (agree, "agree/1")]
)
def test_unknown_keys_and_spent_time_are_refused(device, ask, key):
    with pytest.raises(UnknownKey):
        ask(device, "none/1")
    for timeout in (0, -1.0):
        with pytest.raises(HsmTimeout):
            ask(device, key, timeout=timeout)


def test_the_stand_in_counts_what_reaches_its_ciphers(software_device):
    software_device.calls.clear()
    software_device.with_derived("bdk/1", CHILD, lambda cipher: None, timeout=5)
    unwrap(software_device, seal(software_device, bytes(32)), lambda cipher: None)
    agree(software_device, "agree/1")
    assert software_device.calls == {"with_derived": 1, "with_unwrapped": 1, "agree": 1}
