"""The five vendors' public sample requests, for an edge that runs here.

Rules:
- Bodies have the vendors' members, values and order; of callers' secrets only development's.
- The PINs are those of the vendors' documents. A program with rules for PINs refuses most of them,
  so whoever asks may name others.
"""

import base64
import hashlib
import hmac
import json
import secrets
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pinvault.client import Card, ExternalId, PinvaultError, Vault
from pinvault.development.curl import Request, certificate
from pinvault.development.edge import HASHDT, ISSUER, VENDORS, RunningEdge, Vendor
from pinvault.development.server import RunningServer

CONNECTFI_CARD, HASHDT_CARD, MARQETA_CARD = "icrd_575fma7wGFKTgSx537PMcO", "card_01", "my_card_01"
RAPYD_CARD, RAPYD_NUMBER = "card_f8dd3aa099444e1c80cc5a06de38b165", "4111111111111111"
INTERSWITCH_CARD = {"pan": "5060990000000151002", "seqNr": "001", "expiryDate": "5004"}
CONNECTFI_PIN, MARQETA_PIN, RAPYD_PIN = "1234", "5678", "7777"

_JSON = {"Content-Type": "application/json"}
_CARDS = "/card-management/api/v1/card"
RAPYD_PATH = "/v1/issuing/cards/pin"
_KEY_TIMEOUT_S = 30


def vendor(kind: str) -> Vendor:
    """Give what a vendor's one caller shows."""
    return next(each for each in (*VENDORS, HASHDT) if each.kind == kind)


def facts(kind: str, card: str) -> dict[str, Any]:
    """Give what a vendor's answers tell of a card, besides what the PIN vault knows."""
    told = vendor(kind)
    return {**told.facts, **told.cards.get(card, {})}


def register(vault: Vault) -> dict[str, Card]:
    """Register a card for each vendor, unless it is there."""
    wanted = {
        "connectfi": ("4000001234562000", "001", CONNECTFI_CARD),
        "marqeta": ("5555555551234567", "001", MARQETA_CARD),
        "rapyd": (RAPYD_NUMBER, None, RAPYD_CARD),
        "interswitch": (INTERSWITCH_CARD["pan"], INTERSWITCH_CARD["seqNr"], "interswitch-sample"),
        "hashdt": ("4000001234562000", "002", HASHDT_CARD),
    }
    return {
        kind: _registered(vault, vendor(kind).program, pan, number, external_id)
        for kind, (pan, number, external_id) in wanted.items()
    }


def _registered(vault: Vault, program: str, pan: str, number: str | None, external: str) -> Card:
    try:
        return vault.cards.get(ExternalId(program=program, external_id=external))
    except PinvaultError as error:
        if error.reason != "CARD_UNKNOWN":
            raise
    return vault.cards.register(
        program=program,
        pan=pan,
        expiry=INTERSWITCH_CARD["expiryDate"],
        status="ACTIVE",
        sequence_number=number,
        external_id=external,
    )


@dataclass(frozen=True, slots=True)
class Samples:
    """The requests, addressed to a running edge."""

    edge: RunningEdge

    def connectfi(self, operation: str, pin: str = CONNECTFI_PIN) -> Request:
        """`set-pin` or `check-pin`."""
        body = {"cFiCardId": CONNECTFI_CARD, "pin": pin}
        return self._posted("connectfi", f"/ibis/card/{operation}", body)

    def marqeta_token(self, kind: str) -> Request:
        """A control token to set or to reveal a PIN."""
        body = {"card_token": MARQETA_CARD, "controltoken_type": kind}
        return self._posted("marqeta", "/pins/controltoken", body)

    def marqeta_set(self, control_token: str, pin: str = MARQETA_PIN) -> Request:
        """The PIN of a token's card."""
        body = {"control_token": control_token, "pin": pin}
        return self._posted("marqeta", "/pins", body, method="PUT")

    def marqeta_reveal(self, control_token: str) -> Request:
        """The PIN of a token's card, to be seen."""
        method = {"cardholder_verification_method": "BIOMETRIC_FINGERPRINT"}
        return self._posted("marqeta", "/pins/reveal", {"control_token": control_token, **method})

    def rapyd(self, card: str, pin: str = RAPYD_PIN) -> Request:
        """A PIN, by the card's id or number; signed now, which is good for a minute."""
        body = json.dumps({"card": card, "new_pin": pin})
        idempotency = {"idempotency": str(uuid.uuid4())}
        headers = {**_JSON, **_signed(body), **idempotency}
        return self._request("rapyd", "POST", RAPYD_PATH, headers, body)

    def interswitch_change(self, pin: str, old_pin: str, *, is_active_active: bool) -> Request:
        """A PIN in cipher, and the one before or none; both come as fields."""
        body = {
            **INTERSWITCH_CARD,
            "pin": pin,
            "accountType": "20",
            "userId": "Alex",
            "oldPin": old_pin,
            "cvv2": "123",
        }
        path = f"{_CARDS}/changePin?isActiveActive={str(is_active_active).lower()}"
        return self._posted("interswitch", path, body)

    def interswitch_reissue(self) -> Request:
        """A PIN that the issuer draws."""
        body = {
            "issuerNr": 2,
            **INTERSWITCH_CARD,
            "customerId": "20220728132321467651002",
            "mobileNr": "08033344455",
            "userId": "Alex",
        }
        return self._posted("interswitch", f"{_CARDS}/reissue-pin", body)

    def hashdt(self, action: str) -> Request:
        """The address of the page on which a cardholder does it: `set`, `reset` or `change`."""
        about = {"x-card-id": HASHDT_CARD, "x-request-id": str(uuid.uuid4())}
        headers = {**HASHDT.headers, **about}
        return self._request("hashdt", "GET", f"/issuing/api/v1/card/{action}pin", headers)

    def _posted(self, kind: str, path: str, body: object, *, method: str = "POST") -> Request:
        headers = {**_JSON, **vendor(kind).headers}
        return self._request(kind, method, path, headers, json.dumps(body))

    def _request(
        self, kind: str, method: str, path: str, headers: dict[str, str], body: str = ""
    ) -> Request:
        listener = vendor(kind).listener
        is_issuers = listener == "issuers"
        return Request(
            method=method,
            url=self.edge.url(listener) + path,
            headers=headers,
            body=body,
            certificate=certificate(self.edge.environment, ISSUER) if is_issuers else (),
        )


def _signed(body: str) -> dict[str, str]:
    """Sign a request as Rapyd's clients do: base64 of the hex digits of an HMAC."""
    keys, salt, now = vendor("rapyd").kept, secrets.token_hex(6), str(int(time.time()))
    access, secret = keys["access_key"], keys["secret_key"]
    text = f"post{RAPYD_PATH}{salt}{now}{access}{secret}{body}"
    digest = hmac.digest(secret.encode(), text.encode(), hashlib.sha256).hex()
    signature = base64.b64encode(digest.encode()).decode()
    return {"access_key": access, "salt": salt, "timestamp": now, "signature": signature}


def interswitch_field(key: rsa.RSAPublicKey, pin: str) -> str:
    """Write a PIN as Interswitch's reference client does: hex, RSA by PKCS#1 v1.5, hex."""
    hex_of_digits = pin.encode().hex()
    return key.encrypt(hex_of_digits.encode(), padding.PKCS1v15()).hex()


def interswitch_key(server: RunningServer) -> rsa.RSAPublicKey:
    """Fetch the public key for such fields from the running server."""
    tls = server.environment.tls
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("buf")), "curl", "--protocol", "grpc"),
            *("--cacert", str(tls / "ca.pem"), "--cert", str(tls / "card-app.pem")),
            *("--key", str(tls / "card-app.key"), "--timeout", "10s"),
            *("-d", '{"key": "interswitch-seal"}'),
            f"https://127.0.0.1:{server.port}/pinvault.v1.KeyService/GetPublicKey",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_KEY_TIMEOUT_S,
        check=True,
    )
    (jwk,) = json.loads(done.stdout)["jwks"]["keys"]
    n, e = (int.from_bytes(base64.urlsafe_b64decode(jwk[name] + "==")) for name in ("n", "e"))
    return rsa.RSAPublicNumbers(e, n).public_key()
