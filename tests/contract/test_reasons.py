"""The reasons of the contract, of the core and of the documents are the same."""

from pathlib import Path

from pinvault.model import keys as model
from pinvault.model.errors import Reason
from pinvault.server.messages import ALGORITHMS, MODES, ORIGINS, STATES, USAGES
from pinvault.server.status import CODES
from pinvault.v1.error_reason_pb2 import ErrorReason

PREFIX = "ERROR_REASON_"


def test_every_reason_has_a_number_and_a_code() -> None:
    numbered = {name.removeprefix(PREFIX) for name, _ in ErrorReason.items()} - {"UNSPECIFIED"}
    assert numbered == {reason.value for reason in Reason} == {reason.value for reason in CODES}


def test_the_contracts_comment_names_the_code_of_every_reason(repository: Path) -> None:
    text = (repository / "proto/pinvault/v1/error_reason.proto").read_text()
    for reason, code in CODES.items():
        comment = text.split(f"  {PREFIX}{reason.value} =")[0].rsplit("//", 1)[1]
        assert comment.startswith(f" {code.name}"), reason


def test_every_word_of_the_key_ring_has_a_place_in_the_contract() -> None:
    assert set(USAGES) == set(model.Usage)
    assert set(ALGORITHMS) == set(model.Algorithm)
    assert set(MODES) == set(model.Mode)
    assert set(STATES) == set(model.State)
    assert set(ORIGINS) == set(model.Origin)
