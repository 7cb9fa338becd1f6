"""Building from a configuration: what the key ring says is what the core knows."""

from datetime import date, timedelta

import pytest

from hsm import keyring
from pinvault import bootstrap
from pinvault.model.errors import Refusal
from tests.support.software_device import key
from tests.unit.operations import support as operations
from tests.unit.operations.support import World, call, to_block


@pytest.mark.parametrize("day", [date(2025, 12, 31), date(2026, 12, 31), date(2027, 1, 1)])
def test_cryptoperiods_mean_the_same_on_every_floor(day: date) -> None:
    entry = keyring.KeyEntry(
        name="zpk",
        version=1,
        usage=keyring.Usage.P0,
        algorithm=keyring.Algorithm.TDES_2KEY,
        mode=keyring.Mode.B,
        check_value="000000",
        origin=keyring.Origin.IMPORTED,
        state=keyring.State.ACTIVE,
        valid_from=date(2026, 1, 1),
        valid_until=date(2026, 12, 31),
    )
    (known,) = bootstrap.key_directory(keyring.Keyring(keys=(entry,)))
    assert known.within_cryptoperiod(day) == entry.in_cryptoperiod(day)


def test_a_sealing_key_that_is_yet_to_come_stops_nothing(tmp_path_factory) -> None:
    following = key(
        *("pin-seal", "D1", "RSA_2048", "D"),
        version=11,
        state="decipher-only",
        jwa="RSA-OAEP",
        valid_from=operations.TODAY + timedelta(days=1),
    )
    world = World(tmp_path_factory.mktemp("world"), keys=(*operations.KEYS, following))
    assert world.encrypt_pin(call(), source=operations.envelope(), target=to_block("zpk"))


def test_a_public_key_of_another_usage_is_refused_before_limits_are_used(tmp_path) -> None:
    world = World(tmp_path)
    with pytest.raises(Refusal):
        world.key_service.public_key(call("KeyService.GetPublicKey"), name="partner")
    assert world.is_untouched()
