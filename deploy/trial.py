"""Makes what deploy/compose.yaml tries: a token, certificates, and two servers' configurations.

FOR A TRIAL ONLY. The token is SoftHSM's: its keys stand in files, and are worth nothing.

Rules:
- Both servers have one token, one key ring, one set of certificates and one store; state and audit
  log are each server's own.
- What is there already is left as it is, so that a trial goes on after `docker compose up`.
"""

import sys
from pathlib import Path

from hsm.token import TokenLocation
from pinvault.development import configuration
from pinvault.development.configuration import Settings
from pinvault.development.environment import prepare

SERVERS = ("one", "two")
SHARED = ("token", "tls", "partners", "keyring.toml", "key-blocks")
STORE = "postgresql://pinvault@/pinvault?host=/run/postgresql"
SETTINGS = Settings(
    port=8443,
    admin_port=9443,
    workers=2,
    confine_to_core=False,  # two containers would keep to the same cores
    reflection=False,
    per_pan="1000/h",
)


def main(root: Path) -> None:
    """Make the folders of the servers below `root`."""
    first, *others = (root / name for name in SERVERS)
    prepare(first, configuration=_configuration)
    (first / "key-blocks").mkdir(mode=0o700, exist_ok=True)
    for other in others:
        other.mkdir(mode=0o700, exist_ok=True)
        for name in SHARED:
            if not (other / name).is_symlink():
                (other / name).symlink_to(first / name)
        (other / "pinvault.toml").write_text((first / "pinvault.toml").read_text())
    print(f"{', '.join(SERVERS)}: made in {root}")


def _configuration(at: TokenLocation) -> str:
    """Give a server's configuration: heard by the other containers, and with PostgreSQL."""
    text = configuration.write(SETTINGS, at).replace('listen = "127.0.0.1:', 'listen = "0.0.0.0:')
    before, section, after = text.partition("\n[store]\n")
    address, rest = after.split("\n", 1)
    if not address.startswith("address = "):
        raise SystemExit("the development environment has no store")
    return f'{before}{section}address = "{STORE}"\n{rest}'


if __name__ == "__main__":
    main(Path(sys.argv[1]))
