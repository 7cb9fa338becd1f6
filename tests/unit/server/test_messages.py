"""Every field of every request reaches its use case: the descriptors are walked.

For each field, two requests are written that differ in it alone. If what the use case is called
with does not differ as well, the field has been ignored on the way.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from protovalidate import Validator

from pinvault.model.dukpt import Dukpt
from pinvault.model.keys import Algorithm, Mode, Origin, State, Usage
from pinvault.model.pan import Pan
from pinvault.model.pins import CardSource, EnvelopeSource, EnvelopeTarget, Format, PinBlockSource
from pinvault.model.references import SchemeRef, ValueRef
from pinvault.model.verification import PinOffset, Pvv
from pinvault.server import key_service, messages, pin_block_service
from pinvault.server.key_service import KeyService
from pinvault.server.pin_block_service import PinBlockService
from pinvault.v1 import buf_validate_pb2, key_pb2, pin_block_pb2, resources_pb2
from tests.support.software_device import key
from tests.unit.operations.support import call
from tests.unit.server.requests import NAMES

PANS = ("4111111111111111", "5555555551234567")
WORDS = {"pvv": ("6776", "1234"), "offset": ("7710", "0000")}
USE_CASES = (
    *("ChangeVerificationValue", "EncryptPinChange", "EncryptPinChangeScript", "GeneratePin"),
    *("GenerateVerificationValue", "TranslatePin", "TranslatePinBatch", "VerifyPin", "EncryptPin"),
)
KEY_USE_CASES = (
    *("ImportKeyBlock", "ExportKeyBlock", "ImportKeyCryptogram", "RotateKey", "RetireKey"),
)
MIDNIGHTS = (Timestamp(seconds=86_400 * 20_000), Timestamp(seconds=86_400 * 20_001))
UNSERVED = {"pinvault.v1.PinSource.card"}
"""Sources that the contract has a place for and this server does not serve."""


# Two requests that differ in one field


@dataclass(frozen=True)
class Twins:
    """Two messages that differ in the field at `path` alone."""

    path: str
    one: Message
    other: Message


def values(field: FieldDescriptor) -> tuple[Any, Any]:
    """Give two values of a field that the service takes."""
    if field.message_type == Timestamp.DESCRIPTOR:
        return MIDNIGHTS
    if field.type == FieldDescriptor.TYPE_BOOL:
        return False, True
    if field.type == FieldDescriptor.TYPE_STRING:
        return PANS if field.name == "pan" else WORDS.get(field.name, ("one", "other"))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes(range(16)), bytes(range(1, 17))
    if field.type == FieldDescriptor.TYPE_ENUM:
        first, second = sorted(number for number in field.enum_type.values_by_number if number)[:2]
        return first, second
    assert field.type == FieldDescriptor.TYPE_INT32
    return 4, 5


def filled(message: Descriptor) -> Message:
    """Give a message in which every field is set, and of each oneof the first."""
    made = GetMessageClass(message)()
    for field in message.fields:
        oneof = field.containing_oneof
        if oneof is None or field == oneof.fields[0]:
            put(made, field, None)
    return made


def put(message: Message, field: FieldDescriptor, content: Any) -> None:
    """Set a field, to what `filled` makes when nothing is given."""
    if field.message_type is None:
        setattr(message, field.name, values(field)[0] if content is None else content)
    else:
        member = getattr(message, field.name)
        member.SetInParent()
        member.CopyFrom(made_of(field) if content is None else content)


def made_of(field: FieldDescriptor) -> Message:
    is_moment = field.message_type == Timestamp.DESCRIPTOR
    return MIDNIGHTS[0] if is_moment else filled(field.message_type)


def having(message: Descriptor, field: FieldDescriptor, content: Any) -> Message:
    made = filled(message)
    put(made, field, content)
    return made


def twins(message: Descriptor) -> Iterator[Twins]:
    """Walk a descriptor: twins for each field at any depth, and for each that may be absent."""
    for field in message.fields:
        if field.full_name in UNSERVED:
            continue
        if field.message_type in (None, Timestamp.DESCRIPTOR):
            one, other = (having(message, field, each) for each in values(field))
            yield Twins(field.name, one, other)
            if field.has_presence:
                yield from presence(message, field)
            continue
        for inner in twins(field.message_type):
            one, other = (having(message, field, each) for each in (inner.one, inner.other))
            yield Twins(f"{field.name}.{inner.path}", one, other)
        yield from presence(message, field)


def presence(message: Descriptor, field: FieldDescriptor) -> Iterator[Twins]:
    """Give twins of which one has the field, and the other another member of its oneof or none."""
    one, other = having(message, field, None), having(message, field, None)
    if field.containing_oneof is None:
        if is_optional(field):
            other.ClearField(field.name)
            yield Twins(f"{field.name} (presence)", one, other)
        return
    members = [each for each in field.containing_oneof.fields if each.full_name not in UNSERVED]
    if len(members) == 1:
        other.ClearField(field.name)
        yield Twins(f"{field.name} (presence)", one, other)
    else:
        put(other, members[members[0] == field], None)
        yield Twins(f"{field.name} (which)", one, other)


def is_optional(field: FieldDescriptor) -> bool:
    return not field.GetOptions().Extensions[buf_validate_pb2.field].required


# What a use case is called with


class Reached(Exception):
    """The use case was called, with this."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__()
        self.given = given


class Catcher:
    """Stands where a use case does."""

    def __init__(self, *_: object) -> None:
        pass

    def __call__(self, _: object, **given: Any) -> object:
        raise Reached(given)


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch) -> Callable[[Message], dict[str, Any]]:
    """Give what the use case of a request is called with."""
    for name in USE_CASES:
        monkeypatch.setattr(pin_block_service, name, Catcher)
    for name in KEY_USE_CASES:
        monkeypatch.setattr(key_service, name, Catcher)
    serving = {
        each.request: each
        for service in (PinBlockService(None), KeyService(keys=None, desk=None))  # type: ignore[arg-type]
        for each in service.methods()
    }

    def reach(request: Message) -> dict[str, Any]:
        method = serving[type(request)]
        with pytest.raises(Reached) as reached:
            method.serve(call(method.name), request)
        return reached.value.given

    return reach


REQUESTS = {
    rpc.input_type.name: rpc.input_type
    for rpc in pin_block_pb2.DESCRIPTOR.services_by_name["PinBlockService"].methods
}
KEY_REQUESTS = {
    rpc.input_type.name: rpc.input_type
    for rpc in key_pb2.DESCRIPTOR.services_by_name["KeyService"].methods
    if rpc.name in KEY_USE_CASES
}
EVERY = REQUESTS | KEY_REQUESTS


@pytest.mark.parametrize("name", EVERY)
def test_no_field_of_a_request_is_ignored(
    reach: Callable[[Message], dict[str, Any]], name: str
) -> None:
    ignored = [pair.path for pair in twins(EVERY[name]) if reach(pair.one) == reach(pair.other)]
    assert ignored == []


def test_the_walk_sees_what_is_ignored(reach: Callable[[Message], dict[str, Any]]) -> None:
    """And it is long: every format on both sides, with its PAN, and all that stands beside."""
    paths = {name: [pair.path for pair in twins(each)] for name, each in EVERY.items()}
    assert paths["RotateKeyRequest"] == [
        "key",
        *("exportable", "exportable (presence)"),
        *("valid_until", "valid_until (presence)"),
        *("previous_until", "previous_until (presence)"),
    ]
    assert "source.pin_block.dukpt.working_key_algorithm" in paths["EncryptPinRequest"]
    assert "pin_block.target.format.iso_format_4.pan" in paths["ChangeVerificationValueRequest"]
    assert "scheme.visa_pvv.key_index" in paths["GeneratePinRequest"]
    assert "old_source (presence)" in paths["EncryptPinChangeRequest"]
    assert sum(map(len, paths.values())) > 400
    request = filled(REQUESTS["EncryptPinRequest"])
    assert reach(request) == reach(filled(REQUESTS["EncryptPinRequest"]))


@pytest.mark.parametrize("name", REQUESTS)
def test_a_card_is_a_source_wherever_a_pin_comes_from(
    name: str, reach: Callable[[Message], dict[str, Any]]
) -> None:
    for field in REQUESTS[name].fields:
        if field.message_type == resources_pb2.PinSource.DESCRIPTOR:
            source = resources_pb2.PinSource(card=resources_pb2.CardSource(card_id="card_0"))
            given = reach(having(REQUESTS[name], field, source))
            assert given[field.name] == CardSource("card_0")


# Values


@pytest.mark.parametrize("form", Format)
def test_every_format_of_the_model_has_its_place_in_the_contract(form: Format) -> None:
    message = resources_pb2.PinBlockFormat()
    member = getattr(message, NAMES[form])
    member.SetInParent()
    if form.carries_pan:
        member.pan = PANS[0]
    source = messages.read_block_source(
        resources_pb2.PinBlockSource(key="zpk", format=message, ciphertext=bytes(8)), at="source"
    )
    assert source == PinBlockSource(
        key="zpk",
        format=form,
        pan=Pan(PANS[0]) if form.carries_pan else None,
        ciphertext=bytes(8),
    )


def test_the_contract_has_no_format_that_the_model_has_not() -> None:
    places = resources_pb2.PinBlockFormat.DESCRIPTOR.oneofs_by_name["format"].fields
    assert {place.name for place in places} == set(NAMES.values())
    columns = set(pin_block_pb2.ColumnFormat.values()) - {0}
    assert columns == set(messages.COLUMN_FORMATS)
    for number, form in messages.COLUMN_FORMATS.items():
        assert pin_block_pb2.ColumnFormat.Name(number) == f"COLUMN_FORMAT_{form.value}"


def test_sources_and_targets_are_read_to_the_last_member() -> None:
    ksn = bytes(range(12))
    dukpt = resources_pb2.Dukpt(
        key_serial_number=ksn, working_key_algorithm=resources_pb2.KEY_ALGORITHM_AES_192
    )
    form = resources_pb2.PinBlockFormat(iso_format_4=resources_pb2.IsoFormat4(pan=PANS[0]))
    block = resources_pb2.PinBlockTarget(key="bdk/2", format=form, dukpt=dukpt)
    read = messages.read_target(resources_pb2.PinTarget(pin_block=block), at="target")
    assert (read.key, read.format, read.pan) == ("bdk/2", Format.ISO_4, Pan(PANS[0]))
    assert read.dukpt == Dukpt(ksn=ksn, working_key=Algorithm.AES_192)

    sealed = resources_pb2.EnvelopeSource(profile="sealed", ciphertext=b"sealed", pan=PANS[0])
    assert messages.read_source(resources_pb2.PinSource(envelope=sealed), at="source") == (
        EnvelopeSource(profile="sealed", pan=Pan(PANS[0]), ciphertext=b"sealed")
    )
    sealed.ClearField("pan")
    assert messages.read_source(resources_pb2.PinSource(envelope=sealed), at="source").pan is None
    partner = resources_pb2.EnvelopeTarget(profile="partner", pan=PANS[1])
    assert messages.read_target(resources_pb2.PinTarget(envelope=partner), at="target") == (
        EnvelopeTarget(profile="partner", pan=Pan(PANS[1]))
    )


@pytest.mark.parametrize("index", range(7))
def test_a_pvv_comes_and_goes_with_its_key_index(index: int) -> None:
    """Index 0 too, which is no absence."""
    written = messages.write_value(Pvv(value="6776", key_index=index), scheme="visa")
    assert messages.read_value(written) == ValueRef(
        scheme=SchemeRef(name="visa", key_index=index), digits="6776"
    )


def test_an_offset_comes_and_goes() -> None:
    written = messages.write_value(PinOffset(value="771000"), scheme="ibm")
    assert messages.read_value(written) == ValueRef(scheme=SchemeRef(name="ibm"), digits="771000")


# Keys


@pytest.mark.parametrize(
    ("mapping", "members", "enum"),
    [
        (messages.USAGES, Usage, key_pb2.KeyUsage),
        (messages.MODES, Mode, key_pb2.KeyModeOfUse),
        (messages.ALGORITHMS, Algorithm, resources_pb2.KeyAlgorithm),
        (messages.STATES, State, key_pb2.KeyState),
        (messages.ORIGINS, Origin, key_pb2.KeyOrigin),
    ],
    ids=["usage", "mode", "algorithm", "state", "origin"],
)
def test_every_word_of_a_key_has_one_number(mapping, members, enum) -> None:
    assert set(mapping) == set(members)
    assert sorted(mapping.values()) == sorted(set(enum.values()) - {0})
    for member, number in mapping.items():
        assert f"_{member.value.upper().replace('-', '_')}" in enum.Name(number)


def test_the_midnight_that_ends_a_cryptoperiod_follows_its_last_day() -> None:
    request = key_pb2.RotateKeyRequest(valid_until=MIDNIGHTS[0])
    assert messages.read_last_day(request, "valid_until") == date(2024, 10, 3)
    assert messages.read_last_day(request, "previous_until") is None
    ends = messages.write_key(
        key(*("zpk", "P0", "AES_128", "B"), valid_until=date(2024, 10, 3))
    ).valid_until
    assert ends == MIDNIGHTS[0]


@pytest.mark.parametrize(
    ("moment", "is_fit"),
    [
        (Timestamp(seconds=86_400), True),
        (Timestamp(seconds=253_402_214_400), True),
        (Timestamp(seconds=253_402_300_800), False),
        (Timestamp(), False),
        (Timestamp(seconds=-86_400), False),
        (Timestamp(seconds=86_401), False),
        (Timestamp(seconds=86_400 * 10**10), False),
    ],
)
def test_cryptoperiods_end_at_midnights_of_the_calendar(moment: Timestamp, is_fit: bool) -> None:
    request = key_pb2.RotateKeyRequest(key="zpk", valid_until=moment)
    assert (not Validator().collect_violations(request)) == is_fit
    if is_fit:
        assert isinstance(messages.read_last_day(request, "valid_until"), date)


def test_a_key_is_told_to_the_last_member() -> None:
    each = key(
        *("zpk", "P0", "AES_128", "B"),
        version=7,
        state="decipher-only",
        valid_from=date(2026, 1, 2),
        valid_until=date(2026, 12, 31),
    )
    told = messages.write_key(each)
    assert all(told.HasField(name) for name in ("valid_from", "valid_until"))
    assert told.valid_from.ToDatetime().date() == date(2026, 1, 2)
    assert told.valid_until.ToDatetime().date() == date(2027, 1, 1), "the first moment without it"
    unset = [f.name for f in told.DESCRIPTOR.fields if f not in dict(told.ListFields())]
    assert unset == []
    assert (told.name, told.version, told.check_value) == (
        "zpk",
        7,
        key("zpk", "P0", "TDES_2KEY", "B", version=7).check_value,
    )
    assert (told.usage, told.mode_of_use) == (
        key_pb2.KEY_USAGE_P0_PIN_ENCRYPTION,
        key_pb2.KEY_MODE_OF_USE_B_BOTH,
    )


def test_the_requests_of_keys_reach_their_use_cases() -> None:
    seen: list[dict[str, Any]] = []

    class Asked:
        def __getattr__(self, name: str) -> Callable[..., object]:
            def use(_: object, **given: Any) -> object:
                seen.append({"use": name, **given})
                raise Reached(given)

            return use

    service = KeyService(keys=Asked(), desk=None)  # type: ignore[arg-type]
    requests = (
        key_pb2.ListKeysRequest(
            usage=key_pb2.KEY_USAGE_D1_ASYMMETRIC_DATA_ENCRYPTION, page_size=7, page_token="zpk/3"
        ),
        key_pb2.ListKeysRequest(),
        key_pb2.GetKeyRequest(key="zpk/3"),
        key_pb2.GetPublicKeyRequest(key="pin-seal"),
    )
    serving = {each.request: each.serve for each in service.methods()}
    for request in requests:
        with pytest.raises(Reached):
            serving[type(request)](call(), request)
    assert seen == [
        {"use": "list", "usage": Usage.D1, "page_size": 7, "after": "zpk/3"},
        {"use": "list", "usage": None, "page_size": 0, "after": ""},
        {"use": "get", "reference": "zpk/3"},
        {"use": "public_key", "name": "pin-seal"},
    ]
