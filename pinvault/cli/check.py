"""`pinvault config check` and `pinvault doctor`: would it start, and if not, why not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import click

from hsm.errors import HsmError
from pinvault import bootstrap
from pinvault.cli.common import config_argument, json_option, show
from pinvault.config import ConfigError, Loaded, load
from pinvault.model.references import SchemeRef
from pinvault.model.verification import Ibm3624Scheme
from pinvault.server.hardening import allocator_scrubs, with_allocator
from pinvault.store import Store, StoreError, read_address

FAILED = 1


@click.group()
def config() -> None:
    """Look at a configuration."""


@config.command()
@config_argument
def check(config_file: Path) -> None:
    """Read a configuration and its key ring as the server would; the HSM is not touched."""
    loaded = load(config_file.absolute())
    ring = bootstrap.read_keyring(loaded)
    kept = list(_vault(loaded))
    click.echo(
        f"{config_file}: good: {len(ring.keys)} keys, {len(loaded.config.profiles)} profiles, "
        f"{len(loaded.config.grants)} grants"
    )
    warn_days = loaded.config.key_life.warn_days
    directory = bootstrap.key_directory(ring)
    for ending in bootstrap.endings(directory, today=bootstrap.utc_today(), warn_days=warn_days):
        click.echo(f"{config_file}: {ending.text}")
    for told in kept:
        click.echo(f"{config_file}: {told}")
    wanted = loaded.slots_wanted()
    if wanted > loaded.config.state.slots:
        click.echo(
            f"{config_file}: state.slots: callers who use their rates up need {wanted} slots, and "
            f"there are {loaded.config.state.slots}; calls are refused when they are full: "
            "raise it, or lower per_caller"
        )


def _vault(loaded: Loaded) -> Iterator[str]:
    """Tell what is kept of cards, and under which keys."""
    store = loaded.config.store
    if store is None:
        return
    kind = read_address(store.address).drivername
    yield f"store: {kind}; PANs under {store.pan_key}, {len(loaded.programs())} programs"
    for name, program in loaded.programs().items():
        scheme = program.scheme
        kept = f"PIN blocks under {store.reference_key}"
        if scheme is not None:
            kept = f"values by {scheme.name} under {_key_of(loaded, scheme)}"
        revealed = f"revealed from PIN blocks under {store.reveal_key}"
        yield f"program {name}: {kept}; {revealed if program.reveal else 'not revealed'}"


def _key_of(loaded: Loaded, scheme: SchemeRef) -> str:
    found = loaded.verification()[scheme.name]
    return found.key if isinstance(found, Ibm3624Scheme) else found.keys[scheme.key_index or 0]


@click.command()
@config_argument
@json_option
@click.pass_context
def doctor(context: click.Context, config_file: Path, as_json: bool) -> None:
    """Check all that a start needs: files, key ring, token, allocator; end with 1 on a fault."""
    loaded = load(config_file.absolute())
    checks: list[tuple[str, Callable[[Loaded], str]]] = [
        ("TLS files", _tls),
        ("key ring", lambda loaded: f"{len(bootstrap.read_keyring(loaded).keys)} keys"),
        ("token", _token),
        *([("store", _store)] if loaded.config.store is not None else []),
        ("allocator", _allocator),
    ]
    rows = [_row(name, look, loaded) for name, look in checks]
    show("pinvault doctor", ("Check", "Verdict", "Details"), rows, as_json=as_json)
    if any(verdict == "FAIL" for _, verdict, _ in rows):
        context.exit(FAILED)


def _row(name: str, look: Callable[[Loaded], str], loaded: Loaded) -> tuple[str, str, str]:
    try:
        return name, "ok", look(loaded)
    except (ConfigError, HsmError) as error:
        return name, "FAIL", str(error)
    except StoreError as error:
        return name, "FAIL", f"{error.problem}: {error.remedy}"
    except OSError as error:
        return name, "FAIL", f"{error.filename}: {error.strerror}: correct the path or its mode"


def _tls(loaded: Loaded) -> str:
    bootstrap.require_tls_files(loaded)
    return "certificate in its time, and of the key"


def _token(loaded: Loaded) -> str:
    bootstrap.open_device(loaded, bootstrap.read_keyring(loaded)).close()
    return "agrees with the key ring"


def _store(loaded: Loaded) -> str:
    if loaded.config.store is None:
        return "none"
    Store.open(loaded.config.store.address).close()
    return "answers, with the tables of this release"


def _allocator(_: Loaded) -> str:
    if allocator_scrubs(with_allocator({})):
        return "glibc; `pinvault serve` sets it"
    return "not glibc: production mode refuses to start here"
