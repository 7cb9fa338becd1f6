"""The configuration of a development environment, as text."""

from dataclasses import dataclass

from hsm.token import TokenLocation

_TEMPLATE = """\
# Made by the development environment; worth nothing. See pinvault.example.toml for every option.
mode = "{settings.mode}"

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

[[grants]]
callers = ["spiffe://pinvault.test/card-app", "card-app.test", "card-app"]
methods = ["PinBlockService.EncryptPinChange"]
keys = ["zpk-terminal", "zpk-terminal-aes"]
formats = ["ISO_0", "ISO_1", "ISO_3", "ISO_4"]
profiles = ["sealed-pin", "interswitch"]
per_caller = "{settings.per_caller}"
per_pan = "{settings.per_pan}"

[[grants]]
callers = ["spiffe://pinvault.test/card-app", "card-app.test", "card-app"]
methods = ["PinBlockService.EncryptPin"]
keys = ["zpk-terminal", "zpk-switch", "zpk-terminal-aes", "zpk-switch-aes"]
formats = ["ISO_0", "ISO_1", "ISO_3", "ISO_4"]
profiles = ["sealed-pin", "interswitch"]
per_caller = "{settings.per_caller}"
per_pan = "{settings.per_pan}"

[[grants]]
callers = ["spiffe://pinvault.test/switch"]
methods = ["PinBlockService.EncryptPin"]
keys = ["zpk-terminal", "zpk-switch"]
formats = ["ISO_3"]
per_caller = "{settings.per_caller}"
per_pan = "{settings.per_pan}"

[[grants]]
callers = ["spiffe://pinvault.test/card-app", "card-app.test", "card-app"]
methods = ["KeyService.ListKeys", "KeyService.GetKey", "KeyService.GetPublicKey"]
keys = [
  "pin-seal", "interswitch-pin",
  "zpk-terminal", "zpk-switch", "zpk-terminal-aes", "zpk-switch-aes",
]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What differs between a demonstration, a server to play with, and the tests."""

    mode: str = "development"
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
    )
