"""The main job, end to end: `pin` and `oldPin` for a Postilion-style PIN change.

The real server runs with mTLS on loopback and keys in a SoftHSM token; this process plays
the calling service; a stand-in for the partner confirms both PINs. No PIN is printed.
"""

import json
import secrets
import sys
from datetime import UTC, datetime

import msgspec
from rich.console import Console

from pinvault.audit.record import rfc3339
from pinvault.audit.tail import newest
from pinvault.client import EncryptedPinChange
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer

# The vendor's public sample request.
SAMPLE = {
    "userId": "Alex",
    "pan": "5060990000000151002",
    "seqNr": "001",
    "expiryDate": "5004",
    "accountType": "20",
    "cvv2": "123",
}
PATH = "/card-management/api/v1/card/changePin?isActiveActive=true"


def run(environment: Environment, *, only_json: bool) -> int:
    """Run the demonstration; give the exit code."""
    pins = _random_pin(), _random_pin()
    began = rfc3339(datetime.now(UTC))
    with RunningServer(environment) as server, server.connect() as vault:
        change = vault.encrypt_pin_change(
            profile="interswitch",
            pan=SAMPLE["pan"],
            new_pin=vault.seal(pins[0], pan=SAMPLE["pan"]),
            old_pin=vault.seal(pins[1], pan=SAMPLE["pan"]),
        )
    body = _body(change)
    if only_json:
        print(json.dumps(body, indent=2))
        return 0
    return _tell(environment, change, body, pins, began)


def _random_pin() -> str:
    return f"{secrets.randbelow(10_000):04}"


def _body(change: EncryptedPinChange) -> dict[str, str]:
    return {"pin": change.pin_field, **SAMPLE, "oldPin": change.old_pin_field}


def _tell(
    environment: Environment,
    change: EncryptedPinChange,
    body: dict[str, str],
    pins: tuple[str, str],
    began: str,
) -> int:
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)

    def heading(text: str) -> None:
        console.print(f"\n[bold]{text}[/bold]")

    heading("The request body that the calling service posts to the partner")
    console.print(json.dumps(body, indent=2), markup=False)

    heading("The same as a command")
    console.print(_curl(body), markup=False)

    heading("The keys that took part")
    for key in (*change.source_keys, change.target_key):
        console.print(f"{key.name}/{key.version}  check value {key.check_value[:16]}", markup=False)

    heading("The audit records of the calls")
    for record in newest(environment.root / "audit", count=8):
        if record.entry.event == "call" and record.entry.time >= began:
            console.print(msgspec.json.encode(record.entry).decode(), markup=False)

    heading("The partner, who holds the private key, opens both fields")
    partner = environment.partner()
    verdicts = (
        ("pin", partner.confirms(body["pin"], pins[0])),
        ("oldPin", partner.confirms(body["oldPin"], pins[1])),
    )
    for name, right in verdicts:
        console.print(f"{name:6} {'holds the PIN that was sealed' if right else 'IS WRONG'}")
    return 0 if all(right for _, right in verdicts) else 1


def _curl(body: dict[str, str]) -> str:
    return (
        f'curl -X POST "$PARTNER_URL{PATH}" \\\n'
        '  -H "Authorization: Bearer $PARTNER_TOKEN" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{json.dumps(body)}'"
    )
