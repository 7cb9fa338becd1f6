"""Where the store is: its address, and whether it may be used there.

Rules:
- SQLite's file is private to the service's user, as the files that SQLite lays beside it become
  with it, and on a disk of this host: its locks and its shared memory do not cross networks.
- PostgreSQL on another host is spoken to only under TLS, with the server's name verified.
- The address may hold a password, so no error and no representation repeats any of it.
"""

import ipaddress
import os
import stat
from pathlib import Path
from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from pinvault.store.errors import StoreMisconfigured

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"

NETWORK_FILESYSTEMS: Final = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
        *("ocfs2", "orangefs", "smb3", "smbfs", "virtiofs"),
        *("fuse.ceph", "fuse.glusterfs", "fuse.grpcfuse", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    }
)

_MOUNTS: Final = Path("/proc/self/mountinfo")


def read_address(text: str) -> URL:
    """Read `sqlite:////absolute/path` or `postgresql://…`, or raise StoreMisconfigured."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = URL.create("unreadable")
    if url.drivername == SQLITE and Path(url.database or "").is_absolute() and not url.query:
        return url
    if url.drivername == POSTGRESQL:
        _require_verified_tls(url)
        return url
    raise StoreMisconfigured(
        "the store's address is none that is served",
        remedy="give sqlite:////absolute/path or postgresql://user@host/database",
    )


def _require_verified_tls(url: URL) -> None:
    given = url.query.get("host", url.host or "")
    hosts = [given] if isinstance(given, str) else list(given)
    if url.query.get("sslmode") == "verify-full" or all(map(_is_here, hosts)):
        return
    raise StoreMisconfigured(
        "the store is on another host, and its address does not ask for verified TLS",
        remedy="add sslmode=verify-full and sslrootcert=/path/to/ca.pem to the address",
    )


def _is_here(host: str) -> bool:
    if host in {"", "localhost"} or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def create_private(path: Path) -> None:
    """Make an empty file with mode 0600, if there is none."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreMisconfigured(
            "the store's file cannot be made",
            remedy="give the service's user a writable directory",
            code=os.strerror(error.errno or 0),
        ) from None


def require_private(path: Path, *, mounts: Path = _MOUNTS) -> None:
    """See that the file may hold a store, or raise StoreMisconfigured."""
    try:
        status = path.lstat()
    except OSError:
        raise StoreMisconfigured(
            "the store's file is not there", remedy="run 'pinvault store upgrade', which makes it"
        ) from None
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or status.st_uid != os.geteuid():
        raise StoreMisconfigured(
            "the store's file is not private to the service's user",
            remedy="make the service's user its owner, with mode 0600, and no symbolic link",
        )
    if filesystem(path, mounts) in NETWORK_FILESYSTEMS:
        raise StoreMisconfigured(
            "the store's file is on a network file system, where SQLite loses data",
            remedy="keep it on a disk of this host, or use PostgreSQL",
        )


def filesystem(path: Path, mounts: Path = _MOUNTS) -> str:
    """Give the type of the file system that holds a path (proc(5)), or "" where none is told."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    home = path.resolve()
    best, kind = 0, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4].encode().decode("unicode_escape")
        if home.is_relative_to(point) and len(point) >= best:  # the last of equals lies on top
            best, kind = len(point), after.split(" ")[0]
    return kind
