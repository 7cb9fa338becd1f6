"""What deploy/ holds: files that can be read, commands that exist, a configuration that is good.

No container engine runs here. What its files name is held to what is there: commands to the command
line, files to the repository, volumes, ports and secrets to each other.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pinvault.cli import cli
from pinvault.config import load
from pinvault.development.environment import Environment
from pinvault.store.place import read_address

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
SHORT = re.compile(r"[a-z0-9-]+(:[a-z0-9.-]+)?")
"""An image's name with no registry in it."""


def documents() -> Iterator[dict[str, Any]]:
    """Everything that is applied; the kustomization says how."""
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] != "Kustomization":
                yield document


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for document in documents():
        spec = document.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            name = document["metadata"]["name"]
            claims = document["spec"].get("volumeClaimTemplates", ())
            own = [{"name": claim["metadata"]["name"]} for claim in claims]
            pod = spec["template"]["spec"]
            yield name, {**pod, "volumes": pod["volumes"] + own}


PODS = dict(pods())
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def require_command(arguments: list[str]) -> None:
    """The words, but for the configuration that is named last, are commands of ours."""
    done = CliRunner().invoke(cli, [*arguments[:-1], "--help"])
    assert done.exit_code == 0, done.output
    assert arguments[-1].endswith("pinvault.toml")


# --- Kubernetes


def test_there_is_what_a_deployment_needs() -> None:
    kinds = {(document["kind"], document["metadata"]["name"]) for document in documents()}
    assert kinds >= {
        ("StatefulSet", "pinvault"),
        ("PodDisruptionBudget", "pinvault"),
        ("Service", "pinvault-servers"),
        ("NetworkPolicy", "nothing-else"),
        ("CronJob", "pinvault-store-upgrade"),
        ("CronJob", "pinvault-reencrypt"),
        ("Deployment", "pinvault-notify"),
    }
    (listed,) = [yaml.safe_load(p.read_text()) for p in MANIFESTS if p.stem == "kustomization"]
    applied = {path.name for path in MANIFESTS} - {"kustomization.yaml"}
    assert set(listed["resources"]) == applied


@pytest.mark.parametrize("name", sorted(PODS))
def test_every_container_is_restricted(name: str) -> None:
    pod = PODS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(pod):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= set(container["resources"])
        assert SHORT.fullmatch(container["image"])
        assert "env" not in container, "secrets and settings stand in files"


@pytest.mark.parametrize("name", ["pinvault", "pinvault-reencrypt"])
def test_private_files_on_a_volume_stay_private(name: str) -> None:
    """The other policy gives them to the group at every mount."""
    assert PODS[name]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


@pytest.mark.parametrize("name", sorted(PODS))
def test_what_containers_run_is_there(name: str) -> None:
    pod = PODS[name]
    for container in pod["containers"]:
        require_command(container["args"])
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounted = {m["name"] for c in containers(pod) for m in c["volumeMounts"]}
    assert mounted == volumes


def test_the_probes_ask_the_admin_port_that_is_configured() -> None:
    config = load(DEPLOY / "kubernetes" / "pinvault.toml").config
    listens = {"pinvault": config.admin.listen, "pinvault-notify": config.notify.listen}
    for name, listen in listens.items():
        (container,) = PODS[name]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert listen == f"0.0.0.0:{ports['admin']}"
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "admin"}
    (server,) = PODS["pinvault"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert config.server.listen == f"0.0.0.0:{ports['grpc']}"
    grace = PODS["pinvault"]["terminationGracePeriodSeconds"]
    assert grace > config.server.grace_s + 5 + 5  # a pause before, the supervisor's patience after


def test_every_file_of_the_configuration_is_mounted() -> None:
    config = load(DEPLOY / "kubernetes" / "pinvault.toml").config
    (server,) = PODS["pinvault"]["containers"]
    mounts = [Path(mount["mountPath"]) for mount in server["volumeMounts"]]
    assert config.store is not None
    address = read_address(config.store.address)
    assert address.query["sslmode"] == "verify-full"
    files = [
        *(config.server.tls.certificate_file, config.server.tls.private_key_file),
        *(config.server.tls.client_ca_file, config.hsm.pin_file, config.hsm.keyring_file),
        *(config.audit.directory, config.state.directory),
        *(address.query["sslrootcert"], address.query["sslcert"], address.query["sslkey"]),
    ]
    for file in files:
        assert any(Path(str(file)).is_relative_to(mount) for mount in mounts), file
    (notify,) = PODS["pinvault-notify"]["containers"]
    mounts = [Path(mount["mountPath"]) for mount in notify["volumeMounts"]]
    for webhook in config.webhooks.values():
        for file in webhook.secret_files:
            assert any(Path(file).is_relative_to(mount) for mount in mounts), file


def test_the_configuration_is_good(pristine: Environment, tmp_path: Path) -> None:
    """With the key ring of a development token, which has keys of the same names."""
    text = (DEPLOY / "kubernetes" / "pinvault.toml").read_text()
    ring = pristine.root / "keyring.toml"
    text = text.replace("/etc/pinvault-keys/keyring.toml", str(ring))
    (tmp_path / "pinvault.toml").write_text(text)
    done = CliRunner().invoke(cli, ["config", "check", str(tmp_path / "pinvault.toml")])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "state.slots" not in done.output


# --- compose


def test_the_trial_says_that_it_is_one() -> None:
    for name in ("compose.yaml", "trial.py"):
        assert "FOR A TRIAL ONLY" in (DEPLOY / name).read_text()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_of_the_trial_names_what_is_there(name: str) -> None:
    service = SERVICES[name]
    assert SHORT.fullmatch(service["image"])
    for other in service.get("depends_on", ()):
        assert other in SERVICES
    for volume in service["volumes"]:
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (DEPLOY / source).is_file()
    for network in service.get("networks", ()):
        assert network in COMPOSE["networks"]
    if service["image"].startswith("pinvault"):
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["user"] == "10001:10001"
        if "entrypoint" not in service:
            require_command(service["command"])


def test_the_trial_is_made_and_its_configurations_are_good(tmp_path: Path) -> None:
    root = tmp_path / "trial"
    for _ in ("first", "again"):
        command = [sys.executable, str(DEPLOY / "trial.py"), str(root)]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    served = [SERVICES[name]["command"][1] for name in ("server-one", "server-two")]
    for path in served:
        here = root / Path(path).relative_to("/trial")
        done = CliRunner().invoke(cli, ["config", "check", str(here)])
        assert done.exit_code == 0, (done.output, done.exception)
        config = load(here).config
        assert (config.server.listen, config.admin.listen) == ("0.0.0.0:8443", "0.0.0.0:9443")
        assert config.store is not None
        assert "/run/postgresql" in config.store.address
    assert len({load(root / Path(p).relative_to("/trial")).file("state") for p in served}) == 2


# --- the image


def test_the_image_takes_nothing_but_code(tmp_path: Path) -> None:
    allowed = {
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = set()
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--from"):
            copied |= set(words[1:-1])
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_is_not_root_s_and_does_not_hold_softhsm() -> None:
    stages = re.split(r"(?m)^FROM ", (DEPLOY / "Dockerfile").read_text())[1:]
    names = [stage.split("\n")[0].split(" AS ")[-1] for stage in stages]
    assert names[-1] == "pinvault"
    assert stages[-1].startswith("base AS")
    base = stages[names.index("base")]
    assert "softhsm" not in base
    assert base.rindex("USER 10001:10001") > base.rindex("RUN ")


def test_what_the_service_needs_is_a_part_of_the_lock() -> None:
    command = [sys.executable, str(DEPLOY / "runtime.py"), str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    named = [re.split(r"[^A-Za-z0-9-]", line)[0] for line in done.stdout.splitlines()]
    assert {"grpcio", "python-pkcs11", "psycopg"} <= set(named)
    assert "pytest" not in named
    lock = (ROOT / "requirements.lock").read_text()
    assert all(f"\n{name}==" in f"\n{lock}" for name in named)
