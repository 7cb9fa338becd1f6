"""A development environment in one folder: token, keys, certificates, partners, configuration.

Rules:
- A folder without its record was interrupted and is made again from nothing; one with it
  is used as it is, until its certificates are about to end.
- What is stored is the service's alone, so the keys of the store are known to nobody.
- Zone, base derivation and issuer master keys, and those that protect key blocks, are known to
  stand-ins outside the token, as those of real partners are.
"""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.cmac import CMAC

from hsm import keyring, provisioning, softhsm
from hsm.keyring import KeyEntry
from hsm.provisioning import KeySpec
from hsm.token import TokenLocation
from hsm.vocabulary import Algorithm, Mode, Usage
from pinvault.development.certificates import VALID_FOR, Authority, write_pair
from pinvault.development.partner import Partner, Phone

TRUST_DOMAIN = "spiffe://pinvault.test"
CLIENTS = ("card-app", "switch", "key-manager", "nobody", "edge", "issuer")
LAYOUT = 6
_RECORD = "environment.json"
# What makes the variant of a TDES base derivation key (ANSI X9.24-1:2009, A.6).
KEY_VARIANT = bytes.fromhex("C0C0C0C000000000C0C0C0C000000000")
# What makes the variants of a key block protection key of versions A and C (TR-31:2018, 5.3.2.2).
ENCRYPTION_VARIANT, MAC_VARIANT = b"\x45" * 24, b"\x4d" * 24
_TOKEN_LABEL = "pinvault-development"  # noqa: S105 - a label
_MARGIN = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Environment:
    """The folder of an environment; every path in it is known from here."""

    root: Path

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.root / "pinvault.toml"

    @property
    def tls(self) -> Path:
        """Certificates and keys of server and clients."""
        return self.root / "tls"

    @property
    def partners(self) -> Path:
        """What only the stand-ins know."""
        return self.root / "partners"

    @property
    def store(self) -> Path:
        """The store, a file of SQLite."""
        return self.root / "store.db"

    @property
    def notice(self) -> Path:
        """The file in which a running server tells its port."""
        return self.root / "state" / "serving.json"

    def partner(self) -> Partner:
        """The stand-in for Interswitch."""
        return Partner.load(self.partners / "interswitch.key")

    def phone(self) -> Phone:
        """The stand-in for a cardholder's phone."""
        return Phone.load(self.partners / "phone.key")

    def zone_key(self, name: str) -> bytes:
        """The value of a key, as the stand-in at its other end knows it."""
        return bytes.fromhex((self.partners / f"{name}.hex").read_text())

    def variables(self) -> dict[str, str]:
        """What a process needs in its environment to find the token."""
        return {softhsm.CONFIGURATION_VARIABLE: str(self.root / "token" / "softhsm2.conf")}


def prepare(root: Path, *, configuration: Callable[[TokenLocation], str]) -> Environment:
    """Give the environment under `root`, made when it is not there, is old, or was interrupted."""
    environment = Environment(root.resolve())
    if not _usable(environment):
        shutil.rmtree(environment.root, ignore_errors=True)
        _make(environment)
    os.environ.update(environment.variables())
    _upgrade_store(environment)
    environment.config.write_text(configuration(_token(environment).location))
    return environment


def _upgrade_store(environment: Environment) -> None:
    from pinvault.store import upgrade  # SQL takes long to import, and not all of us need it

    upgrade(f"sqlite:///{environment.store}")


def _token(environment: Environment) -> softhsm.DevelopmentToken:
    return softhsm.prepare(
        environment.root / "token",
        module=softhsm.find_module(os.environ, root=_unpacked(os.environ)),
        label=_TOKEN_LABEL,
        environ=os.environ,
    )


def _usable(environment: Environment) -> bool:
    try:
        record = json.loads((environment.root / _RECORD).read_text())
    except (OSError, ValueError):
        return False
    ends = datetime.fromisoformat(record["made"]) + VALID_FOR - _MARGIN
    return bool(record["layout"] == LAYOUT and datetime.now(UTC) < ends)


def _make(environment: Environment) -> None:
    for folder in (environment.root, environment.tls, environment.partners):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    token = _token(environment)
    os.environ.update(token.environment)
    ring = keyring.Keyring(keys=tuple(_make_keys(environment, token.location)))
    (environment.root / "keyring.toml").write_text(keyring.dump(ring))
    _make_certificates(environment)
    record = {"layout": LAYOUT, "made": datetime.now(UTC).isoformat()}
    temporary = environment.root / f"{_RECORD}.new"
    temporary.write_text(json.dumps(record))
    temporary.replace(environment.root / _RECORD)


def _unpacked(environ: Mapping[str, str]) -> Path | None:
    folder = environ.get("PINVAULT_DEV_DIR")
    return Path(folder) / "debian" if folder else None


def _make_keys(environment: Environment, location: TokenLocation) -> list[KeyEntry]:
    partner, agreeing = Partner.make(), Phone.make()
    partner.save(environment.partners / "interswitch.key")
    agreeing.save(environment.partners / "phone.key")
    return [
        provisioning.generate(location, _spec("index", Usage.M7, Algorithm.HMAC_SHA256, Mode.G)),
        provisioning.generate(
            location, _spec("audit-signing", Usage.S0, Algorithm.EC_P256, Mode.S)
        ),
        provisioning.generate(
            location, _spec("pin-seal", Usage.D1, Algorithm.RSA_2048, Mode.D, jwa="RSA-OAEP")
        ),
        provisioning.import_public_key(
            location,
            _spec("interswitch-pin", Usage.D1, Algorithm.RSA_2048, Mode.E),
            partner.spki(),
        ),
        provisioning.generate(
            location,
            _spec("interswitch-seal", Usage.D1, Algorithm.RSA_2048, Mode.D, jwa="RSA1_5"),
        ),
        _zone_key(environment, location, "zpk-terminal", Algorithm.TDES_3KEY, Mode.D),
        _zone_key(environment, location, "zpk-switch", Algorithm.TDES_3KEY, Mode.E),
        _zone_key(environment, location, "zpk-terminal-aes", Algorithm.AES_256, Mode.D),
        _zone_key(environment, location, "zpk-switch-aes", Algorithm.AES_256, Mode.E),
        provisioning.generate(
            location, _spec("pin-wrap", Usage.K0, Algorithm.RSA_2048, Mode.D, jwa="RSA-OAEP")
        ),
        provisioning.generate(location, _spec("pin-agree", Usage.K3, Algorithm.EC_P256, Mode.X)),
        provisioning.import_public_key(
            location,
            _spec("phone-agree", Usage.K3, Algorithm.EC_P256, Mode.E),
            agreeing.spki(),
        ),
        provisioning.generate(location, _spec("pvk-visa", Usage.V2, Algorithm.TDES_2KEY, Mode.C)),
        provisioning.generate(location, _spec("pvk-ibm", Usage.V1, Algorithm.TDES_2KEY, Mode.C)),
        provisioning.generate(location, _spec("key-storage", Usage.K1, Algorithm.AES_256, Mode.B)),
        provisioning.generate(
            location, _spec("key-transport", Usage.K2, Algorithm.RSA_2048, Mode.D, jwa="RSA-OAEP")
        ),
        provisioning.generate(location, _spec("pan-store", Usage.D0, Algorithm.AES_256, Mode.B)),
        provisioning.generate(
            location, _spec("pin-reference", Usage.P0, Algorithm.AES_256, Mode.B)
        ),
        provisioning.generate(location, _spec("pin-reveal", Usage.P0, Algorithm.AES_256, Mode.B)),
        *_known_keys(environment, location),
    ]


def _known_keys(environment: Environment, location: TokenLocation) -> list[KeyEntry]:
    """Make the keys that terminals, cards and key blocks stem from."""
    bdk, kbpk = _random_key(Algorithm.TDES_2KEY), _random_key(Algorithm.TDES_3KEY)
    wanted = (
        ("bdk-terminal", Usage.B0, Algorithm.AES_128, Mode.X, None),
        ("bdk-legacy", Usage.B0, Algorithm.TDES_2KEY, Mode.X, bdk),
        ("bdk-legacy-variant", Usage.B0, Algorithm.TDES_2KEY, Mode.X, _sum(bdk, KEY_VARIANT)),
        ("imk-ac", Usage.E0, Algorithm.TDES_2KEY, Mode.X, None),
        ("imk-smc", Usage.E1, Algorithm.TDES_2KEY, Mode.X, None),
        ("imk-smi", Usage.E2, Algorithm.TDES_2KEY, Mode.X, None),
        ("kbpk-partner", Usage.K1, Algorithm.AES_256, Mode.B, None),
        ("kbpk-partner-tdes", Usage.K1, Algorithm.TDES_3KEY, Mode.B, None),
        ("kbpk-old-45", Usage.K0, Algorithm.TDES_3KEY, Mode.D, _sum(kbpk, ENCRYPTION_VARIANT)),
        ("kbpk-old-4d", Usage.M1, Algorithm.TDES_3KEY, Mode.V, _sum(kbpk, MAC_VARIANT)),
    )
    return [
        _known_key(environment, location, _spec(name, usage, algorithm, mode), value)
        for name, usage, algorithm, mode, value in wanted
    ]


def _sum(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _zone_key(
    environment: Environment, location: TokenLocation, name: str, algorithm: Algorithm, mode: Mode
) -> KeyEntry:
    return _known_key(environment, location, _spec(name, Usage.P0, algorithm, mode), None)


def _known_key(
    environment: Environment, location: TokenLocation, spec: KeySpec, value: bytes | None
) -> KeyEntry:
    """Import a key whose value the stand-in at its other end knows too."""
    value = value or _random_key(spec.algorithm)
    path = environment.partners / f"{spec.name}.hex"
    path.touch(mode=0o600)
    path.write_text(value.hex())
    return provisioning.import_secret(
        location, spec, value, check_value=check_value(value, spec.algorithm)
    )


def _spec(
    name: str, usage: Usage, algorithm: Algorithm, mode: Mode, *, jwa: str | None = None
) -> KeySpec:
    return KeySpec(
        name=name,
        version=1,
        usage=usage,
        algorithm=algorithm,
        mode=mode,
        valid_from=datetime.now(UTC).date() - timedelta(days=1),
        jwa=jwa,
    )


def _random_key(algorithm: Algorithm) -> bytes:
    value = secrets.token_bytes(algorithm.bits // 8)
    return _odd_parity(value) if algorithm.value.startswith("TDES") else value


def _odd_parity(value: bytes) -> bytes:
    """Set each byte's last bit so that its ones are odd in number (ANSI X3.92)."""
    return bytes(byte ^ ((byte.bit_count() + 1) & 1) for byte in value)


def check_value(value: bytes, algorithm: Algorithm) -> str:
    """Give a zone key's check value as its other end computes it (X9.24-1): six hex digits.

    >>> check_value(bytes.fromhex("13345779133457791334577913345779"), Algorithm.TDES_2KEY)
    '6FB1C8'
    >>> check_value(bytes.fromhex("FA36E44278DB3AB5F298F9F7DA8F1F88"), Algorithm.AES_128)
    'D77F00'
    """
    if algorithm.value.startswith("TDES"):
        whole = value + value[:8] if len(value) == 16 else value
        encryptor = Cipher(TripleDES(whole), ECB()).encryptor()  # noqa: S305 - the standard's
        found = encryptor.update(bytes(8))
    else:
        cmac = CMAC(AES(value))
        cmac.update(bytes(16))
        found = cmac.finalize()
    return found[:3].hex().upper()


def _make_certificates(environment: Environment) -> None:
    authority = Authority.make("pinvault development CA")
    stranger = Authority.make("somebody else's CA")
    (environment.tls / "ca.pem").write_bytes(authority.pem())
    write_pair(environment.tls, "server", authority.issue_server("pinvault development server"))
    for name in CLIENTS:
        pair = authority.issue_client(name, spiffe=f"{TRUST_DOMAIN}/{name}", dns=f"{name}.test")
        write_pair(environment.tls, name, pair)
    write_pair(environment.tls, "anonymous", authority.issue_client("anonymous", spiffe=None))
    foreign = stranger.issue_client("card-app", spiffe=f"{TRUST_DOMAIN}/card-app")
    write_pair(environment.tls, "foreign", foreign)
