"""One PAN a call: all that a call names are the same, compared as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.model.errors import Reason, Refusal
from pinvault.model.pan import Pan
from pinvault.operations.route import one_pan

named = st.lists(
    st.none() | st.sampled_from(["4111111111111111", "5555555555554444", "411111111111"]),
    max_size=4,
)


@given(named)
def test_the_one_pan_of_a_call_is_the_one_that_all_name(texts: list[str | None]) -> None:
    different = {text for text in texts if text is not None}
    pans = [Pan(text) if text is not None else None for text in texts]
    if len(different) > 1:
        with pytest.raises(Refusal) as caught:
            one_pan(*pans)
        assert caught.value.reason is Reason.PAN_MISMATCH
        assert caught.value.field == ""
    else:
        found = one_pan(*pans)
        assert (found.digits() if found is not None else None) == next(iter(different), None)
