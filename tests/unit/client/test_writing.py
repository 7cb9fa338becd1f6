"""What the client writes passes the contract, and the server reads it as what was meant."""

from hypothesis import given
from hypothesis import strategies as st
from protovalidate import Validator

from pinvault.client import (
    Dukpt,
    Ibm3624Offset,
    Ibm3624Scheme,
    PinBlock,
    SealedPin,
    ToEnvelope,
    ToPinBlock,
    VisaPvv,
    VisaPvvScheme,
    reading,
    writing,
)
from pinvault.model.pan import Pan
from pinvault.model.pins import (
    EnvelopeSource,
    EnvelopeTarget,
    Format,
    PinBlockSource,
    PinBlockTarget,
)
from pinvault.server import messages
from pinvault.v1 import resources_pb2

VALIDATOR = Validator()
PANS = st.text("0123456789", min_size=12, max_size=19)
NAMES = st.from_regex("[a-z][a-z0-9-]{0,20}", fullmatch=True)
CIPHERTEXTS = st.binary(min_size=8, max_size=8) | st.binary(min_size=16, max_size=16)
DUKPT = st.builds(
    Dukpt,
    key_serial_number=st.binary(min_size=10, max_size=10) | st.binary(min_size=12, max_size=12),
    working_key=st.sampled_from(["TDES_2KEY", "TDES_3KEY", "AES_128", "AES_192", "AES_256"]),
)
FORMATS = [form.value for form in Format if form is not Format.ISO_2]
ISO_FORMATS = [form for form in FORMATS if form.startswith("ISO_")]
BLOCKS = st.builds(
    PinBlock,
    key=NAMES,
    format=st.sampled_from(FORMATS),
    ciphertext=CIPHERTEXTS,
    pan=PANS,
    dukpt=st.none() | DUKPT,
)
TO_BLOCKS = st.builds(
    ToPinBlock,
    key=NAMES,
    format=st.sampled_from(ISO_FORMATS),
    pan=PANS,
    dukpt=st.none() | DUKPT,
)
INDEXES = st.integers(0, 6)
SCHEMES = st.builds(VisaPvvScheme, name=NAMES, key_index=INDEXES) | st.builds(
    Ibm3624Scheme, name=NAMES
)
VALUES = st.builds(
    VisaPvv, scheme=NAMES, key_index=INDEXES, value=st.from_regex("[0-9]{4}", fullmatch=True)
) | st.builds(Ibm3624Offset, scheme=NAMES, value=st.from_regex("[0-9]{4,12}", fullmatch=True))


def assert_same_block(ours: PinBlock | ToPinBlock, theirs: PinBlockSource | PinBlockTarget) -> None:
    assert (theirs.key, theirs.format) == (ours.key, ours.format)
    if theirs.format.carries_pan:
        assert theirs.pan.same_as(Pan(ours.pan))
    else:
        assert theirs.pan is None
    assert (theirs.dukpt is None) == (ours.dukpt is None)
    if ours.dukpt is not None:
        assert theirs.dukpt.ksn == ours.dukpt.key_serial_number
        assert theirs.dukpt.working_key == ours.dukpt.working_key


@given(block=BLOCKS)
def test_a_pin_block_arrives_as_it_was_given(block: PinBlock) -> None:
    message = writing.source(block)
    VALIDATOR.validate(message)
    read = messages.read_source(message, at="source")
    assert_same_block(block, read)
    assert read.ciphertext == block.ciphertext


@given(target=TO_BLOCKS)
def test_a_target_arrives_as_it_was_given(target: ToPinBlock) -> None:
    message = writing.target(target)
    VALIDATOR.validate(message)
    assert_same_block(target, messages.read_target(message, at="target"))


@given(profile=NAMES, pan=PANS, bound=st.booleans())
def test_envelopes_arrive_as_they_were_given(profile: str, pan: str, bound: bool) -> None:
    sealed = SealedPin(profile=profile, ciphertext=bytes(128), pan=pan if bound else None)
    source = messages.read_source(writing.source(sealed), at="source")
    assert isinstance(source, EnvelopeSource)
    assert (source.profile, source.ciphertext) == (profile, bytes(128))
    assert source.pan.same_as(Pan(pan)) if bound else source.pan is None
    to = messages.read_target(writing.target(ToEnvelope(profile=profile, pan=pan)), at="target")
    assert isinstance(to, EnvelopeTarget)
    assert to.profile == profile
    assert to.pan.same_as(Pan(pan))


@given(scheme=SCHEMES)
def test_a_scheme_arrives_as_it_was_given(scheme: VisaPvvScheme | Ibm3624Scheme) -> None:
    message = writing.scheme(scheme)
    VALIDATOR.validate(message)
    read = messages.read_scheme(message)
    assert (read.name, read.key_index) == (scheme.name, getattr(scheme, "key_index", None))


@given(value=VALUES)
def test_a_verification_value_arrives_as_it_was_given_and_comes_back(
    value: VisaPvv | Ibm3624Offset,
) -> None:
    message = writing.verification_value(value)
    VALIDATOR.validate(message)
    read = messages.read_value(message)
    assert (read.scheme.name, read.digits) == (value.scheme, value.value)
    assert read.scheme.key_index == getattr(value, "key_index", None)
    assert reading.verification_value(message) == value


def test_every_format_of_the_contract_that_a_server_opens_has_a_word_here() -> None:
    names = {field.name for field in resources_pb2.PinBlockFormat.DESCRIPTOR.fields}
    assert {messages.FORMATS[name].value for name in names} == {*FORMATS, "ISO_2"}


def test_anything_but_a_clear_yes_is_no() -> None:
    assert [reading.matches(number) for number in range(4)] == [False, True, False, False]
