"""Signatures: as the library of the standard verifies them, by every secret."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from pinvault.notify.signing import BadSecret, Signer, read_secret
from tests.support.receiver import OTHER_SECRET, SECRET, write_secret

ids = st.from_regex(r"[a-z0-9_-]{1,36}", fullmatch=True)


@given(ids, st.text())
def test_what_is_signed_verifies_under_every_secret(message: str, body: str) -> None:
    headers = Signer([SECRET, OTHER_SECRET]).headers(message, body, at=time.time())
    for secret in (SECRET, OTHER_SECRET):
        Webhook(secret).verify(body, headers, json_parse=False)


@given(st.sampled_from(["webhook-id", "webhook-timestamp", "body"]))
def test_whatever_is_changed_does_not(changed: str) -> None:
    now = int(time.time())
    parts = Signer([SECRET]).headers("msg_a", "{}", at=now) | {"body": "{}"}
    parts[changed] = {"webhook-id": "msg_b", "webhook-timestamp": str(now + 1), "body": "[]"}[
        changed
    ]
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(parts.pop("body"), parts)


def test_the_specifications_example() -> None:
    """Published with the reference libraries."""
    headers = Signer([SECRET]).headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", '{"test": 2432232314}', at=1614265330.9
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_secret_is_read_from_its_file(tmp_path) -> None:
    assert read_secret(write_secret(tmp_path / "secret")) == SECRET


BAD = {
    "no prefix": SECRET.removeprefix("whsec_"),
    "too short": "whsec_" + "A" * 28,
    "too long": "whsec_" + "A" * 92,
    "no base64": "whsec_" + "A" * 33,
    "two lines": f"{SECRET}\n{SECRET}",
    "asymmetric": "whsk_" + "A" * 32,
    "empty": "",
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_secret_is_refused(name: str, tmp_path) -> None:
    path = write_secret(tmp_path / "secret", BAD[name])
    with pytest.raises(BadSecret, match="holds no secret") as refused:
        read_secret(path)
    assert not BAD[name] or BAD[name] not in f"{refused.value!r} {refused.value.remedy}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_refused(mode: int, tmp_path) -> None:
    with pytest.raises(BadSecret, match="by others"):
        read_secret(write_secret(tmp_path / "secret", mode=mode))


def test_a_secret_that_is_not_there_is_told(tmp_path) -> None:
    with pytest.raises(BadSecret, match="cannot be read"):
        read_secret(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadSecret, match="cannot be read"):
        read_secret(tmp_path / "folder")


def test_a_signer_shows_no_secret() -> None:
    signer = Signer([SECRET])
    assert SECRET[6:] not in f"{signer!r} {vars(signer)}"


def test_what_the_document_shows_verifies(repository, capsys) -> None:
    text = (repository / "docs/webhooks.md").read_text()
    shown: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], shown)
    body = '{"type":"pin.set","data":{}}'
    headers, seen = Signer([OTHER_SECRET, SECRET]).headers("msg_a", body, at=time.time()), set()
    for _ in range(2):
        shown["received"](headers, body.encode(), SECRET, seen)
    assert capsys.readouterr().out == "pin.set {}\n"
    with pytest.raises(WebhookVerificationError):
        shown["received"](headers | {"webhook-id": "msg_b"}, body.encode(), SECRET, seen)
