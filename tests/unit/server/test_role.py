"""What a server is for: an acquiring one has no method that sets, changes, generates or reveals."""

import pytest

from pinvault.server.role import ACQUIRING, Role
from pinvault.v1 import card_pin_pb2, key_pb2, pin_block_pb2

EVERY = [
    f"{service.name}.{method.name}"
    for file in (pin_block_pb2, card_pin_pb2, key_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
ISSUING_ONLY = {
    "PinBlockService.EncryptPinChange",
    "PinBlockService.GenerateVerificationValue",
    "PinBlockService.ChangeVerificationValue",
    "PinBlockService.GeneratePin",
    "PinBlockService.EncryptPinChangeScript",
    *(method for method in EVERY if method.startswith("CardPinService.")),
}
WORDS = ("Change", "Generate", "Reveal", "Set", "Reset", "Unblock", "Issue")


@pytest.mark.parametrize("method", EVERY)
def test_each_method_is_on_its_side(method: str) -> None:
    assert Role.ISSUING.serves(method)
    assert Role.ACQUIRING.serves(method) is (method not in ISSUING_ONLY)


def test_what_is_served_to_acquirers_is_in_the_contract_and_named_for_no_change() -> None:
    assert set(EVERY) >= ACQUIRING
    assert set(EVERY) - ACQUIRING == ISSUING_ONLY
    assert not [method for method in ACQUIRING if any(word in method for word in WORDS)]


@pytest.mark.parametrize("method", ["", "PinBlockService", "CardPinService.SetPin", "EncryptPin"])
def test_an_acquiring_server_does_not_serve_what_is_not_listed(method: str) -> None:
    assert not Role.ACQUIRING.serves(method)
