"""The configuration of a development environment, as text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hsm.token import TokenLocation
from pinvault.server.role import Role

_TEMPLATE = """\
# Made by the development environment; worth nothing. See pinvault.example.toml for every option.
mode = "{settings.mode}"
role = "{settings.role}"

[server]
listen = "127.0.0.1:{settings.port}"
workers = {settings.workers}
confine_to_core = {confine}
threads = {settings.threads}
identity = "{settings.identity}"
grace_s = 5.0
reflection = {reflection}

[server.tls]
certificate_file = "tls/server.pem"
private_key_file = "tls/server.key"
client_ca_file = "tls/ca.pem"

[server.deadline]
ceiling_s = 10.0

[admin]
listen = "127.0.0.1:{settings.admin_port}"

[hsm]
module = "{location.module}"
token_label = "{location.label}"
token_serial = "{location.serial}"
pin_file = "{location.pin_file}"
keyring_file = "keyring.toml"

[keys]
index = "index"
audit_signing = "audit-signing"

[audit]
directory = "audit"

[state]
directory = "state"
slots = {settings.slots}

[profiles.sealed-pin]
kind = "sealed-jwe"
key = "pin-seal"

[profiles.interswitch]
kind = "rsa-field"
key = "interswitch-pin"
padding = "PKCS1-v1_5"
plaintext = "hex-of-digits"
encoding = "hex-lower"
pin_length = {{ minimum = 4, maximum = 4 }}

[profiles.lithic]
kind = "sealed-json"
key = "pin-seal"
remember_s = 300

[profiles.adyen]
kind = "sealed-aes-block"
key = "pin-wrap"
remember_s = 300

[profiles.phone-in]
kind = "sealed-ecdh-block"
key = "pin-agree"
remember_s = 300
derivation = {{ shared_info = "70696E7661756C74" }}

[profiles.phone-out]
kind = "ecdh-block"
key = "phone-agree"
derivation = {{ shared_info = "70696E7661756C74" }}

[profiles.partner-jwe]
kind = "jwe"
key = "interswitch-pin"
algorithm = "RSA-OAEP"
plaintext = "pin-json"

[verification.visa]
kind = "visa-pvv"
keys = {{ 1 = "pvk-visa" }}

[verification.offset]
kind = "ibm-3624"
key = "pvk-ibm"
decimalisation_table = "0123456789012345"
validation = "{{account12}}"

[scripts.mchip]
block = "iso-2"
padding = "none"
confidentiality = "imk-smc"
integrity = "imk-smi"

[scripts.vsdc]
block = "visa"
padding = "length"
confidentiality = "imk-smc"
integrity = "imk-smi"
cryptograms = "imk-ac"

[pin_rules.cards]

[dukpt]
tdes_variants = {{ bdk-legacy = "bdk-legacy-variant" }}

[key_blocks]
clear_keys = true
storage_key = "key-storage"
directory = "key-blocks"

[key_blocks.variants]
kbpk-old = {{ encryption = "kbpk-old-45", mac = "kbpk-old-4d" }}

[key_blocks.awaited]
zpk-acme = {{ usage = "P0", algorithm = "TDES_3KEY", mode = "B" }}
zpk-acme-aes = {{ usage = "P0", algorithm = "AES_256", mode = "E" }}
{grants}
[[grants]]
callers = ["spiffe://pinvault.test/card-app", "card-app.test", "card-app"]
methods = ["KeyService.ListKeys", "KeyService.GetKey", "KeyService.GetPublicKey"]
keys = [
  "pin-seal", "interswitch-pin", "pin-wrap", "pin-agree", "phone-agree", "bdk-terminal",
  "zpk-terminal", "zpk-switch", "zpk-terminal-aes", "zpk-switch-aes", "pvk-visa", "pvk-ibm",
]

[[grants]]
callers = ["spiffe://pinvault.test/key-manager", "key-manager.test", "key-manager"]
methods = [
  "KeyService.ListKeys", "KeyService.GetKey", "KeyService.GetPublicKey",
  "KeyService.ImportKeyBlock", "KeyService.ExportKeyBlock", "KeyService.ImportKeyCryptogram",
  "KeyService.RotateKey", "KeyService.RetireKey",
]
keys = [
  "zpk-acme", "zpk-acme-aes", "zpk-terminal", "pin-seal", "key-transport", "kbpk-partner",
  "kbpk-partner-tdes", "kbpk-old-45", "kbpk-old-4d",
]
per_caller = "{settings.per_caller}"
"""


CARD_APP = ("spiffe://pinvault.test/card-app", "card-app.test", "card-app")
SWITCH = ("spiffe://pinvault.test/switch",)
ZONE_KEYS = ("zpk-terminal", "zpk-switch", "zpk-terminal-aes", "zpk-switch-aes")
AWAITED = ("zpk-acme", "zpk-acme-aes")
ENVELOPES = (
    *("sealed-pin", "interswitch", "lithic", "adyen"),
    *("phone-in", "phone-out", "partner-jwe"),
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the grants table for methods of PinBlockService."""

    callers: tuple[str, ...]
    methods: tuple[str, ...]
    keys: tuple[str, ...] = (*ZONE_KEYS, *AWAITED, "bdk-terminal", "bdk-legacy")
    formats: tuple[str, ...] = ("ISO_0", "ISO_1", "ISO_3", "ISO_4")
    profiles: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    translations: tuple[str, ...] = ()
    pin_rules: str = ""
    pin_length: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What differs between a demonstration, a server to play with, and the tests."""

    mode: str = "development"
    role: str = "issuing"
    port: int = 0
    admin_port: int = 0
    workers: int = 1
    confine_to_core: bool = True
    threads: int = 64
    slots: int = 65_536
    identity: str = "spiffe"
    reflection: bool = True
    per_caller: str = "500/s"
    per_pan: str = "10/h"


def write(settings: Settings, location: TokenLocation) -> str:
    """Give the text of a configuration."""
    return _TEMPLATE.format(
        settings=settings,
        location=location,
        reflection=str(settings.reflection).lower(),
        confine=str(settings.confine_to_core).lower(),
        grants="".join(_grant(row, settings) for row in _rows(settings)),
    )


def _rows(settings: Settings) -> list[_Row]:
    """Give the rows that the role can have."""
    wanted = (
        _Row(
            CARD_APP,
            ("EncryptPinChange",),
            profiles=("sealed-pin", "interswitch", "partner-jwe"),
        ),
        _Row(
            CARD_APP,
            ("EncryptPin", "TranslatePin", "VerifyPin"),
            profiles=ENVELOPES,
            schemes=("visa", "offset"),
        ),
        _Row(CARD_APP, ("TranslatePinBatch",), pin_length="{ minimum = 4, maximum = 6 }"),
        _Row(
            CARD_APP,
            ("GenerateVerificationValue", "ChangeVerificationValue", "GeneratePin"),
            profiles=ENVELOPES,
            schemes=("visa", "offset"),
            translations=("chosen-pin-to-offset",),
            pin_rules="cards",
        ),
        _Row(CARD_APP, ("EncryptPinChangeScript",), schemes=("mchip", "vsdc")),
        _Row(SWITCH, ("EncryptPin", "TranslatePin"), formats=("ISO_3",), keys=ZONE_KEYS[:2]),
    )
    role = Role(settings.role)
    served = (
        replace(row, methods=tuple(m for m in row.methods if role.serves(f"PinBlockService.{m}")))
        for row in wanted
    )
    return [row for row in served if row.methods]


def _grant(row: _Row, settings: Settings) -> str:
    """Give the text of a row of the grants table."""
    lines = [
        "",
        "[[grants]]",
        f"callers = {_list(row.callers)}",
        f"methods = {_list([f'PinBlockService.{method}' for method in row.methods])}",
        f"keys = {_list(row.keys)}",
        f"formats = {_list(row.formats)}",
        f"profiles = {_list(row.profiles)}",
        f"schemes = {_list(row.schemes)}",
        f"translations = {_list(row.translations)}",
        f'per_caller = "{settings.per_caller}"',
        f'per_pan = "{settings.per_pan}"',
    ]
    if row.pin_length:
        lines.append(f"pin_length = {row.pin_length}")
    if row.pin_rules:
        lines.append(f'pin_rules = "{row.pin_rules}"')
    return "\n".join(lines) + "\n"


def _list(words: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"
