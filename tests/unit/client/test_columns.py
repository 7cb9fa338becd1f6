"""The columns of a batch: what the client packs, the server reads; what it sends, comes apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.clearzone.batch.pans import admit
from pinvault.client import ItemStatus, PackedPins
from pinvault.client.columns import PAN_NIBBLES, block_bytes, packed, unpack
from pinvault.model import batch

FORMATS = ("ISO_0", "ISO_1", "ISO_3", "ISO_4")
FORMAT = st.sampled_from(FORMATS)
DIGITS = st.text("0123456789", min_size=12, max_size=19)
NO_PAN = (
    st.none()
    | st.text(max_size=24).filter(lambda text: not (text.isascii() and text.isdigit()))
    | st.text("0123456789", max_size=11)
    | st.text("0123456789", min_size=20, max_size=24)
)


@given(pans=st.lists(DIGITS | NO_PAN, min_size=1, max_size=20))
def test_the_server_reads_a_pan_where_there_is_one_and_nothing_elsewhere(
    pans: list[str | None],
) -> None:
    sent = packed([(pan, bytes(8)) for pan in pans], source="ISO_3", target="ISO_0")
    assert len(sent.pans) == batch.PAN_BYTES * len(pans)
    read = admit(sent.pans, accounts_once=False).statuses
    for at, (pan, status) in enumerate(zip(pans, read, strict=True)):
        good = pan is not None and 12 <= len(pan) <= 19 and pan.isascii() and pan.isdigit()
        assert status == (batch.ItemStatus.DONE if good else batch.ItemStatus.PAN_MALFORMED)
        if good:
            packed_pan = sent.pans[at * batch.PAN_BYTES :][: batch.PAN_BYTES]
            assert packed_pan.hex().rstrip("f") == pan


@given(source=FORMAT, target=FORMAT, blocks=st.lists(st.binary(min_size=16, max_size=16)))
def test_blocks_stand_side_by_side_with_pans_where_a_format_is_bound_to_one(
    source: str, target: str, blocks: list[bytes]
) -> None:
    size = block_bytes(source)
    rows = [("4111111111111111", block[:size]) for block in blocks]
    sent = packed(rows, source=source, target=target)
    assert sent.pin_blocks == b"".join(block for _, block in rows)
    bound = (source, target) != ("ISO_1", "ISO_1")
    assert len(sent.pans) == (len(rows) * PAN_NIBBLES // 2 if bound else 0)


@given(form=FORMAT, size=st.integers(0, 20), at=st.integers(0, 2))
def test_a_block_of_another_size_would_shift_the_others_and_is_refused(
    form: str, size: int, at: int
) -> None:
    rows = [("4111111111111111", bytes(block_bytes(form)))] * 3
    rows[at] = ("4111111111111111", bytes(size))
    if size == block_bytes(form):
        assert packed(rows, source=form, target="ISO_3").pin_blocks == bytes(3 * size)
    else:
        with pytest.raises(ValueError, match="the size of its source format"):
            packed(rows, source=form, target="ISO_3")


@given(
    target=FORMAT,
    items=st.lists(st.tuples(st.sampled_from(ItemStatus), st.binary(min_size=16, max_size=16))),
)
def test_what_comes_back_is_a_block_where_it_was_done_and_none_elsewhere(
    target: str, items: list[tuple[ItemStatus, bytes]]
) -> None:
    size = block_bytes(target)
    statuses, blocks = unpack(
        bytes(status for status, _ in items),
        b"".join(block[:size] for _, block in items),
        target=target,
    )
    assert statuses == tuple(status for status, _ in items)
    assert blocks == tuple(
        block[:size] if status is ItemStatus.DONE else None for status, block in items
    )


def test_what_is_packed_already_is_sent_as_it_is() -> None:
    given_packed = PackedPins(pin_blocks=b"12345678", pans=b"1234567890")
    assert packed(given_packed, source="ISO_3", target="ISO_4") is given_packed
