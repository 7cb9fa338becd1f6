"""A stored PAN comes back for its card alone: every bit of ciphertext and card id matters."""

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pinvault.clearzone.pin import Malformed
from pinvault.clearzone.stored_pan import (
    binding,
    clear_block,
    decipher_pan,
    encipher_pan,
    read_clear_block,
)
from pinvault.model.cards import card_id
from pinvault.model.pan import Pan

AES = Cipher(algorithms.AES(bytes(range(32))), modes.ECB())
OTHER_AES = Cipher(algorithms.AES(bytes(32)), modes.ECB())
CARD = card_id(now_ms=1_767_225_600_000, drawn=bytes(16))
bounded = settings(max_examples=100)

pans = st.text("0123456789", min_size=12, max_size=19)
cards = st.builds(
    lambda now_ms, drawn: card_id(now_ms=now_ms, drawn=drawn),
    st.integers(0, 20**10 - 1),
    st.binary(min_size=16, max_size=16),
)
bits = st.integers(0, 127)


def seal(pan: str, card: str = CARD) -> bytes:
    return encipher_pan(Pan(pan), owner=card, encipher=AES.encryptor().update)


def opened(ciphertext: bytes, card: str = CARD, cipher: Cipher[modes.ECB] = AES) -> str:
    return decipher_pan(ciphertext, owner=card, decipher=cipher.decryptor().update).digits()


def flipped(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data) ^ 1 << bit).to_bytes(len(data))


@bounded
@given(pans, cards)
@example("400000123452", CARD)
@example("4000001234562000000", CARD)
def test_a_pan_comes_back_for_its_card(pan: str, card: str) -> None:
    assert len(clear_block(Pan(pan))) == len(seal(pan, card)) == 16
    assert read_clear_block(clear_block(Pan(pan))).digits() == pan
    assert opened(seal(pan, card), card) == pan


@bounded
@given(pans, bits)
def test_every_bit_of_the_ciphertext_matters(pan: str, bit: int) -> None:
    with pytest.raises(Malformed):
        opened(flipped(seal(pan), bit))


@pytest.mark.parametrize("place", range(len(CARD)))
def test_every_letter_of_the_card_id_matters(place: int) -> None:
    other = CARD[:place] + ("h" if CARD[place] != "h" else "i") + CARD[place + 1 :]
    with pytest.raises(Malformed):
        opened(seal("4000001234562000"), other)


@bounded
@given(pans, cards, cards)
def test_two_cards_of_one_pan_have_different_ciphertexts(pan: str, one: str, other: str) -> None:
    assert (seal(pan, one) == seal(pan, other)) is (one == other)
    assert (binding(one) == binding(other)) is (one == other)


@bounded
@given(pans, pans)
def test_two_pans_of_one_card_have_different_ciphertexts(one: str, other: str) -> None:
    assert (seal(one) == seal(other)) is (one == other)


def test_another_key_opens_nothing() -> None:
    with pytest.raises(Malformed):
        opened(seal("4000001234562000"), cipher=OTHER_AES)


@pytest.mark.parametrize("length", [0, 1, 8, 15, 17, 32])
def test_nothing_but_one_block_is_deciphered(length: int) -> None:
    with pytest.raises(Malformed):
        decipher_pan(bytes(length), owner=CARD, decipher=lambda _: pytest.fail("deciphered"))


@bounded
@given(st.binary(max_size=40))
def test_what_is_no_clear_block_is_malformed(block: bytes) -> None:
    with pytest.raises(Malformed):
        read_clear_block(block)


@bounded
@given(pans, st.integers(0, 31), st.sampled_from("0123456789abcdef"))
def test_every_nibble_of_the_clear_block_matters(pan: str, place: int, nibble: str) -> None:
    """A changed one is no PAN's, or that of another PAN of the same length."""
    nibbles = clear_block(Pan(pan)).hex()
    block = bytes.fromhex(nibbles[:place] + nibble + nibbles[place + 1 :])
    if nibbles[place] == nibble:
        return
    if 2 <= place < 2 + len(pan) and nibble.isdigit():
        assert (
            read_clear_block(block).digits()
            == nibbles[2:place] + nibble + (nibbles[place + 1 : 2 + len(pan)])
        )
    else:
        with pytest.raises(Malformed):
            read_clear_block(block)


NO_PANS = {
    "11 digits": "1f40000012345ffffffff00000000000",
    "20 digits": "18400000123456200099990000000000",
    "another control": "244000001234562000fff00000000000",
    "a length too short": "134000001234562000fff00000000000",
    "a length too long": "154000001234562000fff00000000000",
    "a letter": "1440000012345a2000fff00000000000",
    "fill before a digit": "144000001f34562000fff00000000000",
    "a digit in the fill": "144000001234562000ff000000000000",
    "zeros for fill": "14400000123456200000000000000000",
    "a one behind": "144000001234562000fff00000000001",
    "zeros": "0" * 32,
    "fill only": "1" + "f" * 31,
}


@pytest.mark.parametrize("name", NO_PANS)
def test_a_block_with_one_thing_wrong_is_malformed(name: str) -> None:
    with pytest.raises(Malformed):
        read_clear_block(bytes.fromhex(NO_PANS[name]))
