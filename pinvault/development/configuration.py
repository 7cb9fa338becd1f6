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
{rules}
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
{vault}{grants}
[[grants]]
callers = ["spiffe://pinvault.test/card-app", "card-app.test", "card-app"]
methods = ["KeyService.ListKeys", "KeyService.GetKey", "KeyService.GetPublicKey"]
keys = [
  "pin-seal", "interswitch-pin", "interswitch-seal", "pin-wrap", "pin-agree", "phone-agree",
  "bdk-terminal",
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
{store_keys}"""

_NO_RULES = """\
refuse_repeated = false
refuse_sequential = false
refuse_dates = false
refuse_current = false
"""

_VAULT = """
[store]
address = "sqlite:///{root}/store.db"
pan_key = "pan-store"
reference_key = "pin-reference"
reveal_key = "pin-reveal"

[profiles.sealed-card]
kind = "sealed-jwe"
key = "pin-seal"
bind_pan = false
bind_card = true

[profiles.interswitch-in]
kind = "sealed-rsa"
key = "interswitch-seal"
plaintext = "hex-of-digits"
encoding = "hex-lower"
remember_s = 300
pin_length = {{ minimum = 4, maximum = 4 }}
accept_pkcs1_v1_5 = true

[programs.debit]
scheme = "visa"
key_index = 1
pin_length = {{ minimum = 4, maximum = 4 }}
pin_rules = "cards"
origins = ["{origin}"]

[programs.credit]
pin_rules = "cards"
reveal = true
origins = ["{origin}"]

[programs.prepaid]
scheme = "offset"
pin_length = {{ minimum = 4, maximum = 4 }}
pin_rules = "cards"
reveal = true
origins = ["{origin}"]

[[grants]]
callers = ["spiffe://pinvault.test/edge", "edge.test", "edge"]
methods = ["KeyService.GetPublicKey"]
keys = ["pin-seal"]
"""
_STORE_KEYS = """
[[grants]]
callers = ["spiffe://pinvault.test/key-manager", "key-manager.test", "key-manager"]
methods = ["KeyService.ListKeys", "KeyService.GetKey", "KeyService.RotateKey"]
keys = ["pan-store", "pin-reference", "pin-reveal"]
per_caller = "{settings.per_caller}"
"""

CARD_APP = ("spiffe://pinvault.test/card-app", "card-app.test", "card-app")
EDGE = ("spiffe://pinvault.test/edge", "edge.test", "edge")
SWITCH = ("spiffe://pinvault.test/switch",)
ZONE_KEYS = ("zpk-terminal", "zpk-switch", "zpk-terminal-aes", "zpk-switch-aes")
AWAITED = ("zpk-acme", "zpk-acme-aes")
ENVELOPES = (
    *("sealed-pin", "interswitch", "lithic", "adyen"),
    *("phone-in", "phone-out", "partner-jwe"),
)
PROGRAMS = ("debit", "credit", "prepaid")
CARD_METHODS = (
    *("RegisterCard", "GetCard", "SetCardStatus", "IssueControlToken", "GetControlToken"),
    *("SetPin", "ChangePin", "ResetPin", "ReissuePin", "CheckPin", "RevealPin", "UnblockPin"),
    *("CreatePinSession", "OpenPinSession", "SubmitPin"),
)
EDGE_METHODS = tuple(
    method
    for method in CARD_METHODS
    if method not in {"RegisterCard", "SetCardStatus", "UnblockPin"}
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the grants table for methods of a service that knows PINs."""

    callers: tuple[str, ...]
    methods: tuple[str, ...]
    keys: tuple[str, ...] = (*ZONE_KEYS, *AWAITED, "bdk-terminal", "bdk-legacy")
    formats: tuple[str, ...] = ("ISO_0", "ISO_1", "ISO_3", "ISO_4")
    profiles: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    translations: tuple[str, ...] = ()
    pin_rules: str = ""
    pin_length: str = ""
    programs: tuple[str, ...] = ()
    service: str = "PinBlockService"

    def names(self) -> tuple[str, ...]:
        """The methods with their service."""
        return tuple(f"{self.service}.{method}" for method in self.methods)


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
    any_pin: bool = False


def write(settings: Settings, location: TokenLocation) -> str:
    """Give the text of a configuration."""
    return _TEMPLATE.format(
        settings=settings,
        location=location,
        reflection=str(settings.reflection).lower(),
        confine=str(settings.confine_to_core).lower(),
        rules=_NO_RULES if settings.any_pin else "",
        grants="".join(_grant(row, settings) for row in _rows(settings)),
        **_vault(settings, location),
    )


def _vault(settings: Settings, location: TokenLocation) -> dict[str, str]:
    """Give what only an issuing server has; the token's folder lies in the environment's."""
    if settings.role != Role.ISSUING:
        return {"vault": "", "store_keys": ""}
    return {
        "vault": _VAULT.format(root=location.pin_file.parents[1], origin=_origin(settings)),
        "store_keys": _STORE_KEYS.format(settings=settings),
    }


def _origin(settings: Settings) -> str:
    """Give who may embed the PIN page; only in development it may do without TLS."""
    return f"{'http' if settings.mode == 'development' else 'https'}://localhost:8080"


def _interswitch_in(callers: tuple[str, ...]) -> _Row:
    """Give the row of PINs that come without a PAN."""
    return _Row(
        callers,
        ("SetPin", "ChangePin", "ResetPin", "CheckPin"),
        keys=(),
        formats=(),
        profiles=("interswitch-in",),
        translations=("iso-1-to-pan",),
        programs=PROGRAMS,
        service="CardPinService",
    )


def _rows(settings: Settings) -> list[_Row]:
    """Give the rows that the role can have."""
    wanted = (
        _Row(
            CARD_APP,
            ("EncryptPinChange",),
            profiles=("sealed-pin", "interswitch", "partner-jwe"),
            programs=PROGRAMS,
        ),
        _Row(
            CARD_APP,
            ("EncryptPin", "TranslatePin", "VerifyPin"),
            profiles=ENVELOPES,
            schemes=("visa", "offset"),
            programs=PROGRAMS,
        ),
        _Row(CARD_APP, ("TranslatePinBatch",), pin_length="{ minimum = 4, maximum = 6 }"),
        _Row(
            CARD_APP,
            ("GenerateVerificationValue", "ChangeVerificationValue", "GeneratePin"),
            profiles=ENVELOPES,
            schemes=("visa", "offset"),
            translations=("chosen-pin-to-offset",),
            pin_rules="cards",
            programs=PROGRAMS,
        ),
        _Row(CARD_APP, ("EncryptPinChangeScript",), schemes=("mchip", "vsdc"), programs=PROGRAMS),
        _Row(
            CARD_APP,
            CARD_METHODS,
            profiles=("sealed-pin", "sealed-card", "interswitch"),
            translations=("block-to-reveal",),
            programs=PROGRAMS,
            service="CardPinService",
        ),
        _interswitch_in(CARD_APP),
        _Row(
            EDGE,
            EDGE_METHODS,
            keys=(),
            formats=(),
            profiles=("sealed-card", "interswitch"),
            programs=PROGRAMS,
            service="CardPinService",
        ),
        _interswitch_in(EDGE),
        _Row(SWITCH, ("EncryptPin", "TranslatePin"), formats=("ISO_3",), keys=ZONE_KEYS[:2]),
    )
    role = Role(settings.role)
    served = (
        replace(
            row,
            methods=tuple(m for m in row.methods if role.serves(f"{row.service}.{m}")),
            programs=row.programs if role is Role.ISSUING else (),
        )
        for row in wanted
    )
    return [row for row in served if row.methods]


def _grant(row: _Row, settings: Settings) -> str:
    """Give the text of a row of the grants table."""
    lines = [
        "",
        "[[grants]]",
        f"callers = {_list(row.callers)}",
        f"methods = {_list(row.names())}",
        f"keys = {_list(row.keys)}",
        f"formats = {_list(row.formats)}",
        f"profiles = {_list(row.profiles)}",
        f"schemes = {_list(row.schemes)}",
        f"translations = {_list(row.translations)}",
        f"programs = {_list(row.programs)}",
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
