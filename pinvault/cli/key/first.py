"""The service's own keys, made before there is a key ring, an audit log or a server.

Rules:
- Their attributes are fixed: an HMAC key for the index, a P-256 pair for the audit log.
- What nobody could record yet is recorded as soon as both are there.
"""

from hsm import keyring, provisioning, ring_file
from hsm.keyring import Keyring
from hsm.provisioning import KeySpec
from hsm.vocabulary import Algorithm, Mode, Usage
from pinvault import bootstrap
from pinvault.config import Loaded
from pinvault.model.keys import Key

_INDEX = (Usage.M7, Algorithm.HMAC_SHA256, Mode.G)
_AUDIT_SIGNING = (Usage.S0, Algorithm.EC_P256, Mode.S)


def own_key(loaded: Loaded, name: str) -> KeySpec | None:
    """Say what an own key of this name shall be; None for other names and for keys that exist."""
    own = loaded.config.keys
    attributes = {own.index: _INDEX, own.audit_signing: _AUDIT_SIGNING}.get(name)
    if attributes is None or _ring(loaded).versions(name):
        return None
    usage, algorithm, mode = attributes
    return KeySpec(
        name=name,
        version=1,
        usage=usage,
        algorithm=algorithm,
        mode=mode,
        valid_from=bootstrap.utc_today(),
    )


def make_own_key(loaded: Loaded, spec: KeySpec) -> Key:
    """Make an own key in the token, and begin or extend the key ring with it."""
    entry = provisioning.generate(bootstrap.location(loaded), spec)
    ring = ring_file.amend(
        bootstrap.ring_path(loaded), lambda ring: ring_file.with_key(ring, entry)
    )
    directory = bootstrap.key_directory(ring)
    own = loaded.config.keys
    made = [key for key in directory if key.name in {own.index, own.audit_signing}]
    if len(made) > 1:
        with bootstrap.open_custody(loaded) as (_, log):
            log.record("Key.Generate", "OK", keys=made)
    return directory.find(entry.id, field="key")


def _ring(loaded: Loaded) -> Keyring:
    """Read the key ring as it is; there may be none yet."""
    path = bootstrap.ring_path(loaded)
    return keyring.load(path) if path.exists() else Keyring(keys=())
