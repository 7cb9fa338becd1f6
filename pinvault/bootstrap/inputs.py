"""What a configuration names, looked up: keys, profiles and files must exist and fit each other.

Rules:
- Errors name the file, the option and the remedy.
- Nothing here touches the token.
"""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hsm import keyring
from hsm.device import TokenLocation
from pinvault.audit.errors import RecordRefused
from pinvault.audit.record import AuditRecord, KeyUse, encode, rfc3339
from pinvault.config import ConfigError, Loaded
from pinvault.model import keys as model
from pinvault.model.custody import WantedKey
from pinvault.model.profiles import IncomingProfile
from pinvault.model.verification import Ibm3624Scheme
from pinvault.operations.route import DECIPHERING, DERIVING
from pinvault.operations.schemes import GENERATING, VERIFYING

VALUES = GENERATING | VERIFYING


def location(loaded: Loaded) -> TokenLocation:
    """Give where the token is."""
    section = loaded.config.hsm
    return TokenLocation(
        module=loaded.file(section.module),
        label=section.token_label,
        serial=section.token_serial,
        pin_file=loaded.file(section.pin_file),
    )


def ring_path(loaded: Loaded) -> Path:
    """Give where the key ring file is."""
    return loaded.file(loaded.config.hsm.keyring_file)


def read_keyring(loaded: Loaded) -> keyring.Keyring:
    """Read the key ring and check that all that the configuration names fits it."""
    ring = keyring.load(ring_path(loaded))
    require_ring(loaded, ring)
    return ring


def require_ring(loaded: Loaded, ring: keyring.Keyring) -> None:
    """Check that all that the configuration names fits the key ring."""
    require_own_keys(loaded, ring)
    directory = key_directory(ring)
    for need in _needs(loaded):
        _require_key(loaded, directory, need)
    awaited = loaded.awaited()
    for wanted in awaited.values():
        _require_awaited(loaded, directory, wanted)
    names = {key.name for key in directory} | awaited.keys()
    for number, section in enumerate(loaded.config.grants):
        for key in section.keys:
            if key not in names:
                text = f"the key ring has no key named {key}: add it or correct the name"
                raise ConfigError(loaded.path, f"grants[{number}].keys", text)


def require_own_keys(loaded: Loaded, ring: keyring.Keyring) -> None:
    """Check the names of a key ring and the service's own keys, and nothing else.

    A command that makes keys needs no more: what the configuration names may still be to come.
    """
    directory = key_directory(ring)
    for known in directory:
        _require_name(loaded, known)
    _require_own_key(loaded, directory, "index", model.Usage.M7)
    _require_own_key(loaded, directory, "audit_signing", model.Usage.S0)


def key_directory(ring: keyring.Keyring) -> model.KeyDirectory:
    """Give the key ring as the floors above the HSM know it."""
    return model.KeyDirectory(
        model.Key(
            name=entry.name,
            version=entry.version,
            usage=model.Usage(entry.usage.value),
            algorithm=model.Algorithm(entry.algorithm.value),
            mode=model.Mode(entry.mode.value),
            check_value=entry.check_value,
            state=model.State(entry.state.value),
            origin=model.Origin(entry.origin.value),
            valid_from=entry.valid_from,
            valid_until=entry.valid_until,
            jwa=entry.jwa,
        )
        for entry in ring.keys
    )


def active_key(loaded: Loaded, directory: model.KeyDirectory, option: str) -> model.Key:
    """Give the active version of one of the service's own keys."""
    name = getattr(loaded.config.keys, option)
    found = [k for k in directory.versions(name) if k.state is model.State.ACTIVE]
    if not found:
        text = f"the key ring has no active key named {name}: add it or correct the name"
        raise ConfigError(loaded.path, f"keys.{option}", text)
    return found[0]


def require_tls_files(loaded: Loaded) -> None:
    """Read the PEM files; the certificate must be in its time and fit a key that is kept close."""

    def refuse(option: str, text: str) -> ConfigError:
        return ConfigError(loaded.path, f"server.tls.{option}", text)

    found: dict[str, bytes] = {}
    for option in ("certificate_file", "private_key_file", "client_ca_file"):
        path = loaded.file(getattr(loaded.config.server.tls, option))
        try:
            found[option] = path.read_bytes()
        except OSError:
            text = f"{path} cannot be read: correct the path or its mode"
            raise refuse(option, text) from None
    try:
        leaf = x509.load_pem_x509_certificates(found["certificate_file"])[0]
        key = load_pem_private_key(found["private_key_file"], password=None)
        x509.load_pem_x509_certificates(found["client_ca_file"])
    except (ValueError, TypeError):
        text = "certificate, key and CA are PEM files, the key without a passphrase: correct them"
        raise refuse("certificate_file", text) from None
    if loaded.file(loaded.config.server.tls.private_key_file).stat().st_mode & stat.S_IROTH:
        raise refuse("private_key_file", "every user can read the key: chmod 0600, or 0440")
    if leaf.public_key() != key.public_key():
        raise refuse("private_key_file", "the key is not the certificate's: correct either")
    if not leaf.not_valid_before_utc <= utc_now() < leaf.not_valid_after_utc:
        raise refuse("certificate_file", "the certificate is not in its time: renew it")


def _require_name(loaded: Loaded, key: model.Key) -> None:
    """Refuse a name that the contract cannot say or the audit record cannot hold."""
    used = KeyUse(key=key.id, check_value=key.check_value)
    try:
        encode(AuditRecord(event="call", time=rfc3339(utc_now()), keys=(used,)))
        sayable = re.fullmatch("[a-z][a-z0-9-]{0,30}", key.name) is not None
    except RecordRefused:
        sayable = False
    if not sayable:
        text = (
            f"the key name {key.name} cannot be used: 1 to 31 of a-z, 0-9 and -, beginning with "
            "a letter, without 12 digits or 16 hex digits in a row"
        )
        raise ConfigError(loaded.file(loaded.config.hsm.keyring_file), "name", text)


def _require_own_key(
    loaded: Loaded, directory: model.KeyDirectory, option: str, usage: model.Usage
) -> None:
    key = active_key(loaded, directory, option)
    if key.usage is not usage:
        text = f"{key.name} has usage {key.usage}, not {usage}: name a key of that usage"
        raise ConfigError(loaded.path, f"keys.{option}", text)


@dataclass(frozen=True, slots=True)
class _Need:
    """A key that an option of the configuration names, and what the key must be."""

    option: str
    key: str
    usage: model.Usage
    modes: frozenset[model.Mode]
    algorithm: str = ""
    opened_by: IncomingProfile | None = None

    def is_met_by(self, key: model.Key) -> bool:
        """Whether a version is such a key, and opens by the padding of the profile, if any."""
        return (
            key.usage is self.usage
            and key.mode in self.modes
            and key.algorithm.value.startswith(self.algorithm)
            and (self.opened_by is None or self.opened_by.opens_by(key))
        )

    @property
    def words(self) -> str:
        """What the key must be, for who reads an error."""
        modes = " or ".join(sorted(self.modes))
        algorithm = self.algorithm and f" and {self.algorithm}"
        padding = " and a jwa that the profile opens by" if self.opened_by is not None else ""
        return f"of usage {self.usage} and mode {modes}{algorithm}{padding}"


def _needs(loaded: Loaded) -> Iterator[_Need]:
    """Give every key that profiles, schemes, scripts and DUKPT name."""
    for name, profile in loaded.profiles().items():
        modes = frozenset({profile.mode})
        opened_by = profile if isinstance(profile, IncomingProfile) else None
        option = f"profiles.{name}.key"
        yield _Need(option, profile.key, profile.usage, modes, opened_by=opened_by)
    for name, scheme in loaded.verification().items():
        if isinstance(scheme, Ibm3624Scheme):
            yield _Need(f"verification.{name}.key", scheme.key, model.Usage.V1, VALUES)
            continue
        for index, pvk in scheme.keys.items():
            yield _Need(f"verification.{name}.keys.{index}", pvk, model.Usage.V2, VALUES)
    for name, script in loaded.scripts().items():
        for place, key, usage in (
            ("confidentiality", script.confidentiality, model.Usage.E1),
            ("integrity", script.integrity, model.Usage.E2),
            ("cryptograms", script.cryptograms, model.Usage.E0),
        ):
            if key is not None:
                yield _Need(f"scripts.{name}.{place}", key, usage, DERIVING)
    yield from _needs_of_blocks(loaded)


def _needs_of_blocks(loaded: Loaded) -> Iterator[_Need]:
    """Give the keys that are told how PIN blocks come under them."""
    for legacy in loaded.config.legacy_formats:
        option = f"legacy_formats.{legacy}"
        yield _Need(option, legacy, model.Usage.P0, DECIPHERING, algorithm="TDES")
    for base, variant in loaded.config.dukpt.tdes_variants.items():
        for half in (base, variant):
            option = f"dukpt.tdes_variants.{base}"
            yield _Need(option, half, model.Usage.B0, DERIVING, algorithm="TDES_2KEY")
    yield from _needs_of_key_blocks(loaded)


def _needs_of_key_blocks(loaded: Loaded) -> Iterator[_Need]:
    """Give the keys that key blocks are made and opened with."""
    section = loaded.config.key_blocks
    if section.storage_key is not None:
        yield _Need(
            "key_blocks.storage_key",
            section.storage_key,
            model.Usage.K1,
            frozenset({model.Mode.B}),
            algorithm="AES",
        )
    for name, (encryption, mac) in loaded.variants().items():
        for half, key, usage, mode in (
            ("encryption", encryption, model.Usage.K0, model.Mode.D),
            ("mac", mac, model.Usage.M1, model.Mode.V),
        ):
            option = f"key_blocks.variants.{name}.{half}"
            yield _Need(option, key, usage, frozenset({mode}), algorithm="TDES")
    yield from _needs_of_store(loaded)


def _needs_of_store(loaded: Loaded) -> Iterator[_Need]:
    """Give the keys of what is stored: PANs, and PIN blocks of format 4."""
    store = loaded.config.store
    for option, key in store.keys().items() if store is not None else ():
        usage = model.Usage.D0 if option == "pan_key" else model.Usage.P0
        yield _Need(f"store.{option}", key, usage, frozenset({model.Mode.B}), algorithm="AES")


def _require_awaited(loaded: Loaded, directory: model.KeyDirectory, wanted: WantedKey) -> None:
    """Refuse an awaited key that is there already, and is something else."""
    for key in directory.versions(wanted.name):
        if (key.usage, key.algorithm, key.mode, key.jwa) != (
            wanted.usage,
            wanted.algorithm,
            wanted.mode,
            wanted.jwa,
        ):
            text = f"{key.id} of the key ring is not what is awaited: correct either"
            raise ConfigError(loaded.path, f"key_blocks.awaited.{wanted.name}", text)


def _require_key(loaded: Loaded, directory: model.KeyDirectory, need: _Need) -> None:
    if not any(map(need.is_met_by, directory.versions(need.key))):
        text = f"the key ring has no key {need.key} {need.words}: add it or correct the name"
        raise ConfigError(loaded.path, need.option, text)


def utc_now() -> datetime:
    """Give the time, aware, in UTC."""
    return datetime.now(UTC)


def utc_today() -> date:
    """Give the UTC day."""
    return utc_now().date()
