"""Where a store may be, and that a refusal does not repeat its address."""

import os
from pathlib import Path

import pytest

from pinvault.store import Store, StoreMisconfigured, StoreUnavailable, upgrade
from pinvault.store.place import filesystem, read_address, require_private

SECRET = "correct-horse"
HERE = (
    "sqlite:////var/lib/pinvault/store.db",
    "postgresql://pinvault@/pinvault?host=/run/postgresql",
    f"postgresql://pinvault:{SECRET}@localhost/pinvault",
    "postgresql://pinvault@127.0.0.1/pinvault",
    "postgresql://pinvault@[::1]/pinvault",
    "postgresql://pinvault@db.example/pinvault?sslmode=verify-full&sslrootcert=/ca.pem",
)
REFUSED = (
    "",
    "sqlite://",
    "sqlite:///:memory:",
    "sqlite:///relative.db",
    "sqlite:////store.db?mode=memory",
    f"mysql://pinvault:{SECRET}@localhost/pinvault",
    f"postgresql+asyncpg://pinvault:{SECRET}@localhost/pinvault",
    f"postgresql://pinvault:{SECRET}@db.example/pinvault",
    f"postgresql://pinvault:{SECRET}@db.example/pinvault?sslmode=require",
    f"postgresql://pinvault:{SECRET}@/pinvault?host=db.example",
    f"postgresql://pinvault:{SECRET}@/pinvault?host=localhost&host=db.example",
    f"postgresql://pinvault:{SECRET}@[db/pinvault",
)


@pytest.mark.parametrize("address", HERE)
def test_addresses_that_are_served(address: str) -> None:
    assert read_address(address).drivername in {"sqlite", "postgresql"}


@pytest.mark.parametrize("address", REFUSED, ids=range(len(REFUSED)))
def test_addresses_that_are_refused(address: str) -> None:
    with pytest.raises(StoreMisconfigured) as caught:
        read_address(address)
    assert SECRET not in f"{caught.value!r}{vars(caught.value)}{caught.value.__context__!r}"


def test_a_server_that_is_not_there_is_told_without_its_address(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        Store.open(f"postgresql://pinvault:{SECRET}@/pinvault?host={tmp_path}", wait_s=0.1)
    fault: BaseException | None = caught.value
    while fault is not None:
        assert SECRET not in f"{fault!r}{vars(fault)}"
        assert str(tmp_path) not in f"{fault!r}{vars(fault)}"
        fault = fault.__cause__ or fault.__context__


def test_the_file_is_made_private(tmp_path: Path) -> None:
    upgrade(f"sqlite:///{tmp_path}/store.db")
    assert (tmp_path / "store.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "store.db"
    path.touch()
    path.chmod(mode)
    with pytest.raises(StoreMisconfigured):
        upgrade(f"sqlite:///{path}")
    assert path.stat().st_size == 0


def test_links_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    upgrade(f"sqlite:///{tmp_path}/store.db")
    (tmp_path / "link.db").symlink_to(tmp_path / "store.db")
    for name in ("link.db", "", "missing.db"):
        with pytest.raises(StoreMisconfigured):
            Store.open(f"sqlite:///{tmp_path}/{name}")
    with pytest.raises(StoreMisconfigured):
        upgrade(f"sqlite:///{tmp_path}/missing/store.db")


MOUNTS = """\
22 1 254:0 / / rw - ext4 /dev/vda rw
23 22 0:40 / {home}/net rw,relatime shared:1 - nfs4 files:/ rw
24 22 0:41 / {home}/with\\040space rw - cifs //files/x rw
25 23 0:42 / {home}/net/local rw - xfs /dev/vdb rw
26 22 0:43 / {home}/twice rw - ext4 /dev/vdc rw
27 26 0:44 / {home}/twice rw - fuse.sshfs host:/ rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("here", "ext4"),
        ("net", "nfs4"),
        ("network", "ext4"),
        ("with space", "cifs"),
        ("net/local", "xfs"),
        ("twice", "fuse.sshfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(
    tmp_path: Path, folder: str, kind: str
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(home=tmp_path))
    home = tmp_path / folder
    home.mkdir(parents=True)
    path = home / "store.db"
    os.close(os.open(path, os.O_CREAT, mode=0o600))
    assert filesystem(path, mounts) == kind
    if kind in {"ext4", "xfs"}:
        require_private(path, mounts=mounts)
    else:
        with pytest.raises(StoreMisconfigured):
            require_private(path, mounts=mounts)


def test_a_host_that_tells_no_mounts_is_trusted(tmp_path: Path) -> None:
    assert filesystem(tmp_path, tmp_path / "missing") == ""
