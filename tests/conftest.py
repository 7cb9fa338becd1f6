"""What the suites share: development environments, and one running server for the session."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from hsm.token import TokenLocation
from pinvault import bootstrap
from pinvault.config import load
from pinvault.development import configuration
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment, prepare
from pinvault.development.server import RunningServer

# Machines are busy: no test fails for its time.
settings.register_profile("pinvault", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pinvault")

# Published test PANs: the vendor's sample, and the schemes' own.
PAN = "5060990000000151002"
OTHER_PAN = "4111111111111111"


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment that nothing runs on; others are copies, since keys take long to make."""
    saved = os.environ.get("SOFTHSM2_CONF")
    root = tmp_path_factory.mktemp("pristine") / "environment"
    try:
        return prepare(root, configuration=lambda at: configuration.write(Settings(), at))
    finally:
        if saved is None:
            os.environ.pop("SOFTHSM2_CONF", None)
        else:
            os.environ["SOFTHSM2_CONF"] = saved


@pytest.fixture(scope="session")
def make_environment(
    pristine: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Settings], Environment]:
    """Make an environment with its own token, certificates and configuration."""

    def make(settings: Settings) -> Environment:
        root = tmp_path_factory.mktemp("copy") / "environment"
        shutil.copytree(pristine.root, root)
        token = root / "token"
        moved = token / "softhsm2.conf"
        moved.write_text(moved.read_text().replace(str(pristine.root), str(root)))
        location = replace(read_location(pristine), pin_file=token / "user.pin")
        (root / "pinvault.toml").write_text(configuration.write(settings, location))
        return Environment(root)

    return make


def read_location(environment: Environment) -> TokenLocation:
    """Where the token of an environment is."""
    return bootstrap.location(load(environment.config))


@pytest.fixture(scope="session")
def environment(make_environment: Callable[[Settings], Environment]) -> Environment:
    """The environment of the session's server; limits are out of the way."""
    return make_environment(Settings(workers=2, per_caller="100000/s", per_pan="100000/s"))


@pytest.fixture(scope="session")
def server(environment: Environment) -> Iterator[RunningServer]:
    """The session's server: two workers, mTLS on loopback, keys in SoftHSM."""
    with RunningServer(environment) as running:
        yield running


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parent.parent
