"""Rapyd's webhook: the vendor's shape, and a signature that is computed here in another way."""

import base64
import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from pinvault.model.cards import CardStatus, EventType
from pinvault.notify.endpoints import Endpoint
from pinvault.notify.events import Endpoints
from pinvault.notify.guard import read_url
from pinvault.notify.rapyd import EVENTS, RapydEndpoint, RapydSigner
from pinvault.notify.signing import BadSecret
from tests.unit.notify.test_events import happened

ASSET = Path(__file__).parents[2] / "assets/webhooks/rapyd-issued-card-pin-set.json"
URL = "https://merchant.example/hooks/rapyd?v=1"
ACCESS_KEY, SECRET = "AC0E5B1D7F3A2C4E6890", "d8e9f0a1b2c3d4e5f60718293a4b5c6d7e8f9001"
CARD_ID = f"card_{'g' * 26}"
OPERATION = "2a1f9c4e-6b7d-4e0a-8f35-9d1c7b2e4a60"


@pytest.fixture
def sample() -> dict:
    return json.loads(ASSET.read_text())


def endpoint(path: Path = Path("s"), **data: object) -> RapydEndpoint:
    return RapydEndpoint(
        name="rapyd",
        target=read_url(URL),
        secret_files=(path,),
        programs=frozenset({"debit"}),
        events=EVENTS,
        access_key=ACCESS_KEY,
        data=data,
    )


def test_the_body_is_the_vendors_sample_but_for_what_is_drawn(sample: dict) -> None:
    data = sample["data"]
    of_configuration = {
        "public_details": {"bin": "471684", "sub_bin": "01"},
        "ewallet_contact": data["ewallet_contact"],
    }
    event = happened(
        EventType.PIN_SET,
        card_id=CARD_ID,
        external_id=data["card_id"],
        registered_at=data["created_at"] + 0.5,
        at=sample["extended_timestamp"] / 1000,
        operation=OPERATION,
    )
    told = json.loads(endpoint(**of_configuration).body(event))
    assert len(told["id"]) == len(sample["id"])
    assert told | {"id": sample["id"]} == sample
    assert list(told) == list(sample)


def test_what_is_known_stands_above_what_is_configured() -> None:
    event = happened(EventType.PIN_SET, status=CardStatus.INACTIVE, external_id=None)
    told = json.loads(
        endpoint(
            id="ci_another",
            status="ACT",
            card_id="another",
            created_at=1,
            public_details={"last4": "0000"},
        ).body(event)
    )["data"]
    assert (told["status"], told["card_id"], told["created_at"]) == ("INA", "card_g", 0)
    assert told["public_details"] == {"last4": "7817", "expiration": "0625"}
    assert told["id"] == f"ci_{hashlib.sha256(b'card_g').hexdigest()[:32]}"


def test_it_is_told_of_pins_that_were_set_and_every_message_has_its_id() -> None:
    every = Endpoints([endpoint()])
    told = {event for event in EventType if every.of(happened(event))}
    assert told == {EventType.PIN_SET}
    ids = {json.loads(every.of(happened(EventType.PIN_SET))[0][1])["id"] for _ in range(8)}
    assert len(ids) == 8


def openssl(text: str) -> str:
    """Sign as a shell would: HMAC in hex by openssl, then base64 of the hex digits."""
    command = ["openssl", "dgst", "-sha256", "-hmac", SECRET, "-r"]
    made = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    return base64.b64encode(made.stdout.split()[0]).decode()


def test_the_signature_covers_url_salt_time_keys_and_body(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "secret").chmod(0o600)
    signer = endpoint(tmp_path / "secret").signer()
    body = ASSET.read_text()
    one, other = (signer.headers("msg", body, at=1_617_110_181.9) for _ in range(2))
    assert one.keys() == {"salt", "timestamp", "signature"}
    assert one["timestamp"] == "1617110181"
    assert one["salt"] != other["salt"]
    for made in (one, other):
        assert 8 <= len(made["salt"]) <= 16
        text = URL + made["salt"] + made["timestamp"] + ACCESS_KEY + SECRET + body
        assert made["signature"] == openssl(text)


def test_a_known_signature() -> None:
    """The base64 is taken of the digest's 64 hex digits, so it has 88 characters."""
    signer = RapydSigner(url=URL, access_key=ACCESS_KEY, secret=SECRET, salt=lambda: "0123456789ab")
    made = signer.headers("msg", "{}", at=0)
    assert len(made["signature"]) == 88
    assert made["signature"] == openssl(f"{URL}0123456789ab0{ACCESS_KEY}{SECRET}{{}}")
    assert SECRET not in repr(signer)
    assert ACCESS_KEY not in repr(signer)


BAD = {"empty": "", "short": "x" * 15, "with a space": "x" * 16 + " x", "two lines": "x\n" * 16}


@pytest.mark.parametrize("name", BAD)
def test_a_secret_that_cannot_be_is_told_by_its_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "secret"
    path.write_text(BAD[name])
    path.chmod(0o600)
    with pytest.raises(BadSecret) as caught:
        endpoint(path).signer()
    assert caught.value.path == path
    assert "secret key" in caught.value.remedy
    assert "whsec_" not in caught.value.remedy


def test_what_only_tests_tells_of_nothing() -> None:
    told = json.loads(endpoint().test_body(at=1.5))
    assert (told["type"], told["data"]) == ("webhook.test", {})
    standard: Endpoint = Endpoint(
        name="core",
        target=read_url(URL),
        secret_files=(),
        programs=frozenset(),
        events=frozenset(),
    )
    assert json.loads(standard.test_body(at=0))["type"] == "webhook.test"


def test_an_endpoint_does_not_show_its_keys() -> None:
    assert ACCESS_KEY not in repr(endpoint())
