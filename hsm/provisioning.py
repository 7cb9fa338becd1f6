"""Making and destroying keys in a token that no `Device` of this process has open.

Rules:
- What is made here is made as in a `Device`: see `hsm.orders`.
- `import_secret` takes a key in the clear. It is for development and tests; production keys come
  into a token by its own ceremony, in components or key blocks (PCI PIN 18).
- These functions log the process into the token and out again, and leave the library. Run them
  before a `Device` is opened, not beside it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from pkcs11 import Session
from pkcs11.exceptions import PKCS11Error

from hsm import keys, orders, token
from hsm.errors import ProvisioningError, return_value
from hsm.keyring import KeyEntry
from hsm.module import Library
from hsm.orders import KeySpec, Order
from hsm.token import TokenLocation
from hsm.vocabulary import State

__all__ = [
    "KeySpec",
    "ProvisioningError",
    "destroy",
    "generate",
    "import_public_key",
    "import_secret",
]


def generate(location: TokenLocation, spec: KeySpec) -> KeyEntry:
    """Make a secret key or a key pair in the token; the entry for the key ring.

    ProvisioningError when another object has the id, when the token refuses, for a partner's public
    key, and for an AES key that only deciphers: its check value could never be computed.
    """
    return _fulfil(location, orders.generation(spec))


def import_public_key(location: TokenLocation, spec: KeySpec, spki: bytes) -> KeyEntry:
    """Load a partner's RSA or P-256 public key (SubjectPublicKeyInfo in DER); its entry."""
    return _fulfil(location, orders.public(spec, spki))


def import_secret(
    location: TokenLocation, spec: KeySpec, value: bytes, *, check_value: str | None = None
) -> KeyEntry:
    """Load a secret key in the clear: for development and tests only. The entry for the key ring.

    `value` has the algorithm's length. CheckValueMismatch when `check_value`, in upper-case hex, is
    given and is not that of the value.
    """
    return _fulfil(location, orders.secret(spec, value, check_value=check_value))


def destroy(location: TokenLocation, entry: KeyEntry) -> None:
    """Destroy the objects of a retired key that is destroyable; what is gone already is no error.

    ProvisioningError for any other key, and when the token holds another one under its id.
    """
    if not entry.destroyable:
        raise ProvisioningError(
            "the key was made to be indestructible",
            key=entry.id,
            remedy="leave it retired, or initialise its token when no key of it is in use",
        )
    if entry.state is not State.RETIRED:
        raise ProvisioningError(
            "the key is still in use", key=entry.id, remedy="retire it in the key ring first"
        )
    with _session(location, entry) as session:
        found = {each: keys.search(session, entry, each) for each in entry.role.grants}
        objects = {each: matches[0] for each, matches in found.items() if len(matches) == 1}
        is_whole = len(objects) == len(entry.role.grants)
        if is_whole and not keys.is_authentic(keys.assemble(entry, objects)):
            raise ProvisioningError("the token holds another key under this id", key=entry.id)
        for each in objects.values():
            each.destroy()


def _fulfil(location: TokenLocation, order: Order) -> KeyEntry:
    with _session(location, order.entry) as session:
        return orders.fulfil(session, order)


@contextmanager
def _session(location: TokenLocation, entry: KeyEntry) -> Iterator[Session]:
    """A read-write session for one key, and the library left as it was found."""
    library = Library.load(location.module)
    try:
        session = token.open_session(token.find(library, location), location, read_write=True)
        try:
            yield session
        finally:
            token.close_session(session)
    except PKCS11Error as error:
        reason = return_value(error).name
    else:
        return
    finally:
        library.close()
    raise ProvisioningError("the token refused", key=entry.id, reason=reason)
