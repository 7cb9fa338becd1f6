"""Attack: send a DUKPT block again, or others under its key serial number, for more looks at it.

A key serial number names one transaction. It is good for one call, whatever the block in it was
like, at this server and at all that share its table, whoever was first by however little.
"""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pinvault.model.keys import Algorithm
from pinvault.model.pins import Format
from tests.support.attack import (
    OTHER_PAN,
    PAN,
    Attacker,
    Ksn,
    attacker,
    change,
    encrypt,
    matches,
    offset,
    pb,
    pvv,
    rs,
    seen,
    to,
    translate,
    verify,
)

BASES = {"AES": "bdk", "TDES": "bdk-tdes"}
bases = pytest.mark.parametrize("base", BASES.values(), ids=BASES)


def ksn(base: str, counter: int = 1) -> Ksn:
    if base == "bdk":
        return Ksn(bytes.fromhex("1234567890123456") + counter.to_bytes(4))
    return Ksn(bytes.fromhex("FFFF9876543210") + (0xE00000 | counter).to_bytes(3))


def block(someone: Attacker, base: str, counter: int = 1, pin: str = "7392") -> rs.PinBlockSource:
    return someone.block(pin, under=base, ksn=ksn(base, counter))


def garbage(base: str, counter: int = 1) -> rs.PinBlockSource:
    return seen(b"\x5a" * 8, under=base, ksn=ksn(base, counter))


@pytest.fixture
def someone(tmp_path: Path) -> Attacker:
    return attacker(tmp_path)


@bases
def test_a_block_is_good_once(someone: Attacker, base: str) -> None:
    request = translate(block(someone, base))
    reasons = [someone.ask("TranslatePin", request).reason for _ in range(4)]
    assert reasons == ["OK", *["KSN_REPLAYED"] * 3]


@bases
def test_another_block_under_a_used_serial_number_is_refused(someone: Attacker, base: str) -> None:
    """Another PIN, another PAN, random bytes: all are told the same."""
    assert someone.ask("TranslatePin", translate(block(someone, base))).reason == "OK"
    other_pan = someone.block("4831", pan=OTHER_PAN, under=base, ksn=ksn(base))
    told = {
        someone.ask("TranslatePin", translate(given, to(pan))).face
        for given, pan in (
            (block(someone, base, pin="4831"), PAN),
            (other_pan, OTHER_PAN),
            (garbage(base), PAN),
        )
    }
    assert len(told) == 1
    assert "KSN_REPLAYED" in repr(told)


@bases
def test_one_look_burns_a_serial_number_even_at_a_malformed_block(
    someone: Attacker, base: str
) -> None:
    """Else wrong PANs could be tried on one block until one opens it."""
    assert someone.ask("TranslatePin", translate(garbage(base))).reason == "PIN_SOURCE_REFUSED"
    assert someone.ask("TranslatePin", translate(block(someone, base))).reason == "KSN_REPLAYED"
    stolen = block(someone, base, counter=2)
    lied = seen(stolen.ciphertext, pan=OTHER_PAN, under=base, ksn=ksn(base, 2))
    told = someone.ask("TranslatePin", translate(lied, to(OTHER_PAN)))
    assert told.reason == "PIN_SOURCE_REFUSED"
    assert someone.ask("TranslatePin", translate(stolen)).reason == "KSN_REPLAYED"


@bases
def test_what_is_refused_before_the_hsm_burns_nothing(someone: Attacker, base: str) -> None:
    """A caller's own mistake does not cost a cardholder the transaction."""
    given = block(someone, base)
    assert someone.ask("TranslatePin", translate(given, to(OTHER_PAN))).reason == "PAN_MISMATCH"
    unknown = to(under="nowhere")
    assert someone.ask("TranslatePin", translate(given, unknown)).reason == "KEY_UNKNOWN"
    assert someone.ask("TranslatePin", translate(given)).reason == "OK"


@bases
def test_another_verb_is_another_look(someone: Attacker, base: str) -> None:
    given = block(someone, base)
    assert someone.ask("VerifyPin", verify(given, pvv("0000"))).reason == "OK"
    for verb, request in (
        ("VerifyPin", verify(given, offset("0000"))),
        ("VerifyPin", verify(someone.sealed("7392"), given)),
        ("TranslatePin", translate(given)),
        ("EncryptPin", encrypt(given)),
        ("ChangeVerificationValue", change(given, someone.sealed("4831"), pvv("0000"))),
    ):
        assert someone.ask(verb, request).reason == "KSN_REPLAYED"


@bases
def test_two_blocks_of_one_call_may_share_their_transaction(someone: Attacker, base: str) -> None:
    """As a terminal sends the current and the new PIN; the call after it may not."""
    current, new = block(someone, base), block(someone, base, pin="4831")
    request = pb.EncryptPinChangeRequest(
        profile="interswitch",
        pan=PAN,
        new_source=rs.PinSource(pin_block=new),
        old_source=rs.PinSource(pin_block=current),
    )
    assert someone.ask("EncryptPinChange", request).reason == "OK"
    assert someone.ask("EncryptPinChange", request).reason == "KSN_REPLAYED"
    same = verify(block(someone, base, 2), block(someone, base, 2))
    assert matches(someone.ask("VerifyPin", same))
    assert someone.ask("VerifyPin", same).reason == "KSN_REPLAYED"


def test_another_working_key_is_the_same_transaction(someone: Attacker) -> None:
    """A serial number is spent for all algorithms that can be derived under it."""
    assert someone.ask("TranslatePin", translate(block(someone, "bdk"))).reason == "OK"
    other = Ksn(ksn("bdk").value, Algorithm.AES_128)
    given = someone.block("7392", form=Format.ISO_4, under="bdk", ksn=other)
    target = to(form=Format.ISO_4, under="zpk-aes")
    assert someone.ask("TranslatePin", translate(given, target)).reason == "KSN_REPLAYED"


@bases
def test_serial_numbers_that_no_terminal_has_are_refused_before_the_hsm(
    someone: Attacker, base: str
) -> None:
    for counter in (0, 0x1FFFFF):
        given = seen(bytes(8), under=base, ksn=ksn(base, counter))
        told = someone.ask("TranslatePin", translate(given))
        assert (told.reason, told.hsm) == ("KSN_INVALID", ())


@bases
def test_it_stays_spent_when_the_process_starts_again(tmp_path: Path, base: str) -> None:
    someone = attacker(tmp_path)
    given = block(someone, base)
    assert someone.ask("TranslatePin", translate(given)).reason == "OK"
    again = attacker(tmp_path, zone_keys=someone.core.zone_keys)
    assert again.ask("TranslatePin", translate(given)).reason == "KSN_REPLAYED"


@bases
def test_of_sixteen_at_once_exactly_one_passes(tmp_path: Path, base: str) -> None:
    """Over two servers that share the table, as the workers of a host do."""
    first = attacker(tmp_path)
    servers = [first, attacker(tmp_path, zone_keys=first.core.zone_keys)] * 8
    for counter in (1, 2, 4, 8):
        reasons = at_once(servers, translate(block(first, base, counter)))
        assert Counter(reasons) == {"OK": 1, "KSN_REPLAYED": 15}


def at_once(servers: list[Attacker], request: pb.TranslatePinRequest) -> list[str]:
    """Send a request to every server in the list, at the same moment."""
    start = threading.Barrier(len(servers))

    def send(server: Attacker) -> str:
        start.wait()
        return server.ask("TranslatePin", request).reason

    with ThreadPoolExecutor(len(servers)) as threads:
        return list(threads.map(send, servers))
