"""Every published vector of `dukpt.json`: keys of transactions, and the PIN blocks under them.

The service derives PIN encryption keys and no others. Where a vector is about another key, the
transaction key that it hangs on is the service's, and the last step to it is written out here.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC

from pinvault.clearzone.dukpt import aes, tdes
from pinvault.clearzone.iso9564 import format0, format4
from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Pin
from pinvault.model.dukpt import Dukpt, require
from pinvault.model.keys import Algorithm
from pinvault.model.pan import Pan
from tests.support import dukpt as clear

Fields = Mapping[str, str]
Runner = Callable[[Fields, Fields], None]

VECTORS = json.loads((Path(__file__).parent / "dukpt.json").read_text(encoding="utf-8"))["vectors"]
RUNNERS: dict[tuple[str, str], Runner] = {}

AES_OF_BYTES = {16: Algorithm.AES_128, 32: Algorithm.AES_256}
AES_WORDS = {"aes128": Algorithm.AES_128, "aes256": Algorithm.AES_256}
AES_INDICATORS = {Algorithm.AES_128: "00020080", Algorithm.AES_256: "00040100"}
MAC_GENERATION, MAC_VERIFICATION, DATA_ENCRYPTION = "2000", "2001", "3000"
KEY_ENCRYPTION = "0002"
DATA_VARIANT = bytes.fromhex("0000000000FF00000000000000FF0000")


def runs(category: str, operation: str) -> Callable[[Runner], Runner]:
    def register(runner: Runner) -> Runner:
        RUNNERS[category, operation] = runner
        return runner

    return register


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_the_vector_holds(vector: Mapping[str, Any]) -> None:
    RUNNERS[vector["category"], vector["operation"]](vector["input"], vector["expect"])


def test_every_vector_names_its_source_and_no_runner_waits_for_one_that_is_gone() -> None:
    assert all(vector["source"] for vector in VECTORS)
    assert len({vector["id"] for vector in VECTORS}) == len(VECTORS)
    assert set(RUNNERS) == {(vector["category"], vector["operation"]) for vector in VECTORS}


# AES


@runs("dukpt_aes", "derive_ik")
def _(given: Fields, expect: Fields) -> None:
    base, ksn = raw(given["bdk"]), raw(given["ikid"]) + bytes([0, 0, 0, 1])
    assert clear.follow(base, path(base, ksn)[:1]) == raw(expect["ik"])


@runs("dukpt_aes", "txn_key")
def _(given: Fields, expect: Fields) -> None:
    assert aes_transaction_key(given) == raw(expect["txn_key"])


@runs("dukpt_aes", "pin_key")
def _(given: Fields, expect: Fields) -> None:
    assert aes_pin_key(given, Algorithm.AES_128) == raw(expect["pin_key_aes128"])


@runs("dukpt_aes", "txn_and_working_keys")
def _(given: Fields, expect: Fields) -> None:
    transaction = aes_transaction_key(given)
    assert transaction == raw(expect["txn_key"])
    for word, algorithm in AES_WORDS.items():
        if f"pin_key_{word}" in expect:
            assert aes_pin_key(given, algorithm) == raw(expect[f"pin_key_{word}"])
            for name, usage in ("mac_gen", MAC_GENERATION), ("data_enc", DATA_ENCRYPTION):
                other = other_key(transaction, usage, algorithm, raw(given["ksn"])[4:])
                assert other == raw(expect[f"{name}_key_{word}"])
    if "encrypted_pin_block" in expect:
        assert block_of_format_4(given) == raw(expect["encrypted_pin_block"])


@runs("dukpt_aes", "cmac")
def _(given: Fields, expect: Fields) -> None:
    transaction = aes_transaction_key(given)
    assert transaction == raw(expect["txn_key"])
    for name, usage in ("cmac_request", MAC_GENERATION), ("cmac_response", MAC_VERIFICATION):
        mac_key = other_key(transaction, usage, Algorithm.AES_128, raw(given["ksn"])[4:])
        mac = CMAC(algorithms.AES(mac_key))
        mac.update(given["data"].encode())
        assert mac.finalize() == raw(expect[name])


@runs("dukpt_aes", "update_key")
def _(given: Fields, expect: Fields) -> None:
    """The last key of all, which no transaction has and `require` refuses: every bit is set."""
    base, ksn = raw(given["ik"]), raw(given["ikid"] + "FFFFFFFF")
    algorithm = AES_OF_BYTES[len(base)]
    steps = aes.path_to_pin_key(ksn, base=algorithm, working_key=algorithm)[1:-1]
    indicator = {"TDES2": "00000080", "AES128": "00020080"}[given["type"]]
    data = raw("0101" + KEY_ENCRYPTION + indicator) + ksn[4:]
    assert clear.aes(clear.follow(base, steps), data) == raw(expect["update_key"])


def path(base: bytes, ksn: bytes, working_key: Algorithm = Algorithm.AES_128) -> Any:
    algorithm = AES_OF_BYTES[len(base)]
    require(Dukpt(ksn=ksn, working_key=working_key), base=algorithm, at="dukpt")
    return aes.path_to_pin_key(ksn, base=algorithm, working_key=working_key)


def aes_transaction_key(given: Fields) -> bytes:
    base = raw(given["bdk"])
    return clear.follow(base, path(base, raw(given["ksn"]))[:-1])


def aes_pin_key(given: Fields, algorithm: Algorithm) -> bytes:
    base = raw(given["bdk"])
    return clear.follow(base, path(base, raw(given["ksn"]), algorithm))


def other_key(transaction: bytes, usage: str, algorithm: Algorithm, context: bytes) -> bytes:
    tail = raw(usage + AES_INDICATORS[algorithm]) + context
    blocks = range(1, 2 + (algorithm is Algorithm.AES_256))
    return clear.aes(transaction, b"".join(bytes([1, block]) + tail for block in blocks))


def block_of_format_4(given: Fields) -> bytes:
    key, tail = aes_pin_key(given, Algorithm.AES_128), raw(given["pin_field"])[-8:]
    inner = clear.aes(key, format4.pin_field(Pin(given["pin"].encode()), tail))
    return clear.aes(key, xor(inner, format4.pan_field(Pan(given["pan"]))))


# TDES


@runs("dukpt_tdes", "derive_ik")
def _(given: Fields, expect: Fields) -> None:
    assert initial_key(given) == raw(expect["ik"])


@runs("dukpt_tdes", "txn_key")
def _(given: Fields, expect: Fields) -> None:
    assert tdes_transaction_key(given) == raw(expect["txn_key"])


@runs("dukpt_tdes", "pin_key")
def _(given: Fields, expect: Fields) -> None:
    """The key itself never shows, so what it enciphers is compared."""
    some = raw("0123456789ABCDEF")
    with tdes.PinKey(tdes_transaction_key(given)) as pin_key:
        assert pin_key.encipher(some) == clear.tdes(raw(expect["pin_key"]), some)


@runs("dukpt_tdes", "data_key")
def _(given: Fields, expect: Fields) -> None:
    variant = xor(bytes(tdes_transaction_key(given)), DATA_VARIANT)
    assert clear.tdes(variant, variant) == raw(expect["data_key"])


@runs("dukpt_tdes", "pin_encrypt")
def _(given: Fields, expect: Fields) -> None:
    assert tdes_transaction_key(given) == raw(expect["txn_key"])
    field = format0.encode(Pin(given["pin"].encode()), Pan(given["pan"]))
    with pin_key(given) as cipher:
        assert cipher.encipher(field) == raw(expect["encrypted_pin_block"])
        assert cipher.decipher(raw(expect["encrypted_pin_block"])) == field


@runs("dukpt_tdes", "pin_decrypt")
def _(given: Fields, expect: Fields) -> None:
    with pin_key(given) as cipher:
        field = cipher.decipher(raw(given["encrypted_pin_block"]))
    with format0.decode(field, Pan(given["pan"])) as pin:
        assert digits_of(pin).decode() == expect["pin"]


@runs("dukpt_tdes", "track_decrypt_pin_variant")
def _(given: Fields, expect: Fields) -> None:
    """Card data under the PIN key in CBC, as some readers have it: ECB, and the sum of CBC here."""
    ciphertext = raw(given["ciphertext"])
    with pin_key(given) as cipher:
        summed = cipher.decipher(ciphertext)
    assert xor(summed, bytes(8) + ciphertext[:-8]) == raw(expect["plaintext_hex"])


def initial_key(given: Fields) -> bytearray:
    return tdes.initial_key(raw(given["ksn"]), **base_key(given))


def tdes_transaction_key(given: Fields) -> bytearray:
    made = bytearray.fromhex(given["ik"]) if "ik" in given else initial_key(given)
    tdes.advance(made, raw(given["ksn"]))
    return made


def pin_key(given: Fields) -> tdes.PinKey:
    ksn = raw(given["ksn"])
    working_key = Algorithm.TDES_2KEY
    require(Dukpt(ksn=ksn, working_key=working_key), base=Algorithm.TDES_2KEY, at="dukpt")
    return tdes.pin_key(ksn, **base_key(given))


def base_key(given: Fields) -> dict[str, tdes.Encipher]:
    """The HSM's part: the base key, and the variant of it that was loaded beside it."""
    base = raw(given["bdk"])
    variant = xor(base, raw("C0C0C0C000000000C0C0C0C000000000"))
    return {
        "encipher_left": lambda block: clear.tdes(base, block),
        "encipher_right": lambda block: clear.tdes(variant, block),
    }


def raw(text: str) -> bytes:
    return bytes.fromhex(text)
