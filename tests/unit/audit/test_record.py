"""No member of a record can hold a PIN block, a ciphertext or a PAN."""

import base64
import string
import typing
from datetime import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.audit import RecordRefused, rfc3339
from pinvault.audit.chain import MAX_LINE
from pinvault.audit.record import AuditRecord, Entry, KeyUse, OwnRecord, encode, encode_own
from pinvault.model.cards import card_id
from tests.unit.audit.support import record, steady

TEXTS = [
    field.name
    for field in msgspec.structs.fields(AuditRecord)
    if field.name not in ("event", "keys", "items", "items_not_done", "latency_us", "deadline_ms")
]
DIGITS = "0123456789"
PREFIXES = ["", "a", "A", "app-", "TLS", "spiffe://x/", "A.", "zpk/"]


def refused(**members: object) -> bool:
    try:
        encode(record(**members))
    except RecordRefused:
        return True
    return False


def members(info: msgspec.inspect.Type, place: str = "entry"):
    """Give every leaf of a type with its place, and every container."""
    yield place, info
    match info:
        case msgspec.inspect.VarTupleType(item_type=item):
            yield from members(item, place)
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            yield from members(key, place)
            yield from members(value, place)
        case msgspec.inspect.UnionType(types=types):
            for one in types:
                yield from members(one, place)
        case msgspec.inspect.StructType(fields=fields):
            for one in fields:
                yield from members(one.type, f"{place}.{one.name}")


def test_every_member_is_bounded() -> None:
    """A new member without a pattern, or of a type that has no bounds, fails here."""
    for place, info in members(msgspec.inspect.type_info(Entry)):
        match info:
            case msgspec.inspect.StrType(pattern=pattern, max_length=length):
                assert (pattern or "").endswith(r"\Z"), place
                assert length is not None, place
            case msgspec.inspect.IntType(ge=low, lt=high):
                assert None not in (low, high), place
            case msgspec.inspect.VarTupleType(max_length=length):
                assert length is not None, place
            case msgspec.inspect.DictType(max_length=length):
                assert length is not None, place
            case _:
                kinds = ("StructType", "UnionType", "LiteralType", "NoneType")
                assert type(info).__name__ in kinds, place


@steady
@given(
    st.sampled_from(TEXTS),
    st.sampled_from(PREFIXES),
    st.text(DIGITS, min_size=12, max_size=19),
)
def test_no_pan_fits_anywhere(member: str, prefix: str, pan: str) -> None:
    assert refused(**{member: prefix + pan})


@steady
@given(st.integers(5, 30), st.sampled_from(string.hexdigits))
def test_no_digit_of_anything_else_fits_into_a_cards_id(place: int, digit: str) -> None:
    of_card = card_id(now_ms=1_767_225_600_000, drawn=bytes(range(16)))
    assert not refused(card=of_card)
    assert refused(card=of_card[:place] + digit + of_card[place + 1 :])


@steady
@given(st.sampled_from(TEXTS), st.text(DIGITS, min_size=4, max_size=12))
def test_no_bare_pin_fits_anywhere(member: str, pin: str) -> None:
    assert refused(**{member: pin})


@steady
@given(
    st.sampled_from(TEXTS),
    st.sampled_from(PREFIXES),
    st.sampled_from([8, 16, 24, 128, 256, 384, 512]).flatmap(
        lambda size: st.binary(min_size=size, max_size=size)
    ),
    st.booleans(),
)
def test_no_block_or_ciphertext_in_hex_fits_anywhere(member, prefix, data, upper) -> None:
    text = data.hex().upper() if upper else data.hex()
    assert refused(**{member: prefix + text})


@steady
@given(
    st.text(DIGITS, min_size=11, max_size=19) | st.binary(min_size=8, max_size=16).map(bytes.hex)
)
def test_nor_into_a_key_use(secret: str) -> None:
    assert refused(keys=(KeyUse(key=f"{secret}/1", check_value="A1B2C3"),))
    assert refused(keys=(KeyUse(key=f"zpk-{secret}{secret}/1", check_value="A1B2C3"),))
    assert refused(keys=(KeyUse(key=f"zpk/{secret}", check_value="A1B2C3"),))
    assert refused(keys=(KeyUse(key="zpk/1", check_value=secret),))


@pytest.mark.parametrize("member", TEXTS)
def test_bytes_are_not_taken_for_text(member: str) -> None:
    """msgspec writes bytes as base64, which may well have the shape of a word."""
    assert refused(**{member: base64.b64decode("ABCDabcd")})


@pytest.mark.parametrize("member", TEXTS)
def test_a_newline_at_the_end_fits_nowhere(member: str) -> None:
    fits = getattr(record(cause="pin-source", profile="postilion-pin"), member)
    assert refused(**{member: fits + "\n"})


@pytest.mark.parametrize("member", ["items", "items_not_done", "latency_us", "deadline_ms"])
def test_no_number_is_wide_enough_for_a_pan(member: str) -> None:
    assert refused(**{member: 10**11})
    assert refused(**{member: -1})


def test_what_callers_are_called_fits() -> None:
    for caller in (
        "spiffe://bank.example/ns/prod/sa/switch-2025",
        "app-1.bank.example",
        "cn=changepin",
        "spiffe://bank.example/6f9619ff-8b86-4011-b42d-00cf4fc964ff",
    ):
        encode(record(caller=caller))
    encode(record(card=card_id(now_ms=0, drawn=b"\xff" * 16), program="debit-2026"))
    encode(record(tls="TLSv1.3/X25519MLKEM768", outcome="PIN_SOURCE_REFUSED", cause="no-door"))
    for check_value in ("A1B2C3", "A1B2C3D4E5", "0f" * 32):
        encode(record(keys=(KeyUse(key="seal.2026/12", check_value=check_value),)))


@pytest.mark.parametrize("odd", ["\ud800", None, 5, ["x"], 2**70, b"x"])
def test_odd_values_are_refused_like_any_other(odd: object) -> None:
    assert refused(caller=odd)
    assert odd is None or refused(time=odd)
    assert refused(latency_us=2**70)


def test_the_refusal_names_the_member_and_not_the_value() -> None:
    with pytest.raises(RecordRefused) as caught:
        encode(record(caller="5555555551234567"))
    assert "caller" in caught.value.detail
    assert "5555" not in caught.value.detail + str(caught.value) + caught.value.remedy
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_the_longest_record_fits_a_line() -> None:
    longest = {
        "caller": "x" * 128,
        "method": "M" * 40 + "." + "M" * 39,
        "outcome": "O" * 48,
        "cause": "z" * 48,
        "keys": (KeyUse(key="k" * 75 + "/9999", check_value="0f" * 32),) * 8,
        "source": "s" * 100,
        "target": "s" * 100,
        "profile": "s" * 64,
        "card": "card_" + "z" * 26,
        "program": "p" * 64,
        "items": 10_000,
        "items_not_done": 10_000,
        "latency_us": 10**10 - 1,
        "deadline_ms": 10**8 - 1,
        "tls": "TLS" + "v" * 61,
    }
    assert len(encode(record(**longest))) < MAX_LINE - 300
    facts = {"f" * 31 + letter: "sha256:" + "0f" * 32 for letter in "abcdefghijklmnop"}
    note = {
        "worker": 1,
        "previous_size": 2**53 - 1,
        "previous_head": "0f" * 32,
        "torn_bytes": 10**9,
        "torn_sha256": "0f" * 32,
        "facts": facts,
    }
    boot = msgspec.convert(note, typing.get_type_hints(OwnRecord)["boot"])
    own = OwnRecord(event="boot", time="2026-01-01T00:00:00.000000Z", boot=boot)
    assert len(encode_own(own)) < MAX_LINE - 300


@pytest.mark.parametrize(
    "time", ["2026-02-30T00:00:00.000000Z", "2026-01-01T24:30:00.000000Z", "2026-01-01T00:00:00Z"]
)
def test_a_time_that_never_was_is_refused(time: str) -> None:
    assert refused(time=time)


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError):
        rfc3339(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
