"""A key ceremony at a pseudo-terminal: its file, its people, and what they type."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from hsm.vocabulary import Algorithm
from pinvault.ceremony.people import hash_passphrase
from pinvault.development.environment import check_value
from tests.support.install import Install, Session, at_a_terminal
from tests.unit.ceremony.support import LOG_N, save

# Clear components and the check value of their key: jPOS, JCESecurityModuleTest,
# testFormKeyFromClearComponent.
COMPONENTS = ("E09B073B4007541FAB76B04370451031", "4CBF5D51EA8525EF045EFED6E386D9D9")
CHECK_VALUE = "40D522"
PASSPHRASE = "Anna's long passphrase"
ANNA, BEN = "Anna Custodian", "Ben Custodian"


@dataclass(frozen=True)
class Ceremony:
    """A reviewed file: Anna comes with a passphrase, Ben with a certificate."""

    path: Path
    sha256: str

    @property
    def ben_key(self) -> str:
        return str(self.path.parent / "ben.key")


def component_check(component: str) -> str:
    return check_value(bytes.fromhex(component), Algorithm.TDES_2KEY)


def write_ceremony(
    folder: Path, name: str, *, ben: str = "", age: timedelta = timedelta(days=1)
) -> Ceremony:
    """Write a ceremony for a PIN key; `ben` is how Ben proves himself, else by a certificate."""
    folder.mkdir(exist_ok=True)
    if not ben:
        key = ec.generate_private_key(ec.SECP256R1())
        pin = save(folder, "ben", key, start=datetime.now(UTC) - age)
        ben = f'certificate = "ben.pem"\ncertificate_sha256 = "{pin}"'
    hashed = hash_passphrase(PASSPHRASE, salt=bytes(16), log_n=LOG_N)
    path = folder / f"{name}.toml"
    path.write_text(
        f'[key]\nname = "{name}"\nusage = "P0"\nalgorithm = "TDES_2KEY"\nmode = "D"\n\n'
        f'[[custodian]]\nname = "{ANNA}"\npassphrase_hash = "{hashed}"\n\n'
        f'[[custodian]]\nname = "{BEN}"\n{ben}\n'
    )
    return Ceremony(path, hashlib.sha256(path.read_bytes()).hexdigest())


@contextmanager
def held(install: Install, ceremony: Ceremony, *options: str) -> Iterator[Session]:
    """Begin a ceremony at a terminal of its own."""
    words = ("key", "ceremony", str(install.config), str(ceremony.path), *options)
    with at_a_terminal(install, *words) as session:
        yield session


def anna_comes(session: Session, ceremony: Ceremony) -> None:
    """Anna's turn up to her component."""
    session.answer("that you reviewed: ", ceremony.sha256[:16])
    session.answer("Your passphrase (hidden): ", PASSPHRASE)


def gives(session: Session, component: str) -> None:
    """A custodian types their component twice, and its check value."""
    session.answer("Your component (hidden): ", component)
    session.answer("once more (hidden): ", component)
    session.answer("from your paper: ", component_check(component))


def ben_comes(session: Session, ceremony: Ceremony) -> None:
    """Ben's turn up to his component."""
    session.answer("that you reviewed: ", ceremony.sha256)
    session.answer("private key: ", ceremony.ben_key)


def all_of_it(
    session: Session, ceremony: Ceremony, components: tuple[str, str] = COMPONENTS
) -> int:
    """The whole of a good ceremony; give its exit code."""
    anna_comes(session, ceremony)
    gives(session, components[0])
    ben_comes(session, ceremony)
    gives(session, components[1])
    session.answer("Your passphrase (hidden): ", PASSPHRASE)
    session.answer("private key: ", ceremony.ben_key)
    return session.end()


def transcripts(ceremony: Ceremony) -> list[Path]:
    """The JSON files of its transcripts, the oldest first."""
    return sorted(ceremony.path.parent.glob(f"{ceremony.path.stem}-*.json"))
