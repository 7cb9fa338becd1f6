"""What the audit tests share: keys, records, and files written without a disk in the way."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from hypothesis import settings
from hypothesis import strategies as st

from pinvault.audit import AuditLog, AuditRecord, KeyUse, Report, chain, rfc3339, verify
from pinvault.audit.checkpoint import sign_checkpoint
from pinvault.audit.durable import worker_path
from pinvault.audit.record import Boot, OwnRecord, encode, encode_own

steady = settings(max_examples=60)
"""For properties on a busy machine: no example is failed for being slow."""

CHAIN_KEY = bytes(range(32))
SIGNER = "audit-signer/1"
PRIVATE = ec.derive_private_key(0xA0D17, ec.SECP256R1())
PUBLIC = PRIVATE.public_key()
START = datetime(2026, 3, 1, tzinfo=UTC)


def sign(digest: bytes) -> bytes:
    der = PRIVATE.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    r, s = utils.decode_dss_signature(der)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def now() -> datetime:
    return datetime.now(UTC)


def record(number: int = 0, *, time: str | None = None, **members: object) -> AuditRecord:
    facts: dict[str, object] = {
        "event": "call",
        "time": time or rfc3339(now()),
        "call_id": f"00000000-0000-4000-8000-{number:012x}",
        "caller": "spiffe://bank.example/switch",
        "method": "PinBlockService.EncryptPin",
        "outcome": "OK",
        "keys": (KeyUse(key="zpk-switch/1", check_value="A1B2C3"),),
        "source": "sealed-jwe",
        "target": "ISO_0",
        "pan_hash": "5a" * 32,
        "latency_us": 812,
        "deadline_ms": 2000,
        "tls": "TLSv1.3",
    }
    return AuditRecord(**(facts | members))  # type: ignore[arg-type]


def open_log(
    directory: Path,
    *,
    worker: int = 0,
    signer: Callable[[bytes], bytes] = sign,
    every: int = 1000,
    interval_s: float = 3600.0,
) -> AuditLog:
    return AuditLog.open(
        directory,
        worker=worker,
        chain_key=CHAIN_KEY,
        sign=signer,
        signer_id=SIGNER,
        clock=now,
        boot={"version": "0.1.0", "keyring": "sha256:" + "0f" * 32},
        every=every,
        interval_s=interval_s,
    )


@dataclass
class Scribe:
    """Writes the lines of a worker's log in memory, a record a second."""

    worker: int = 0
    lines: list[bytes] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    moment: datetime = START

    def __post_init__(self) -> None:
        self.heads = self.heads or [chain.genesis(self.worker, chain_key=CHAIN_KEY)]

    def boot(self) -> None:
        note = Boot(
            worker=self.worker,
            previous_size=len(self.lines),
            previous_head=self.heads[-1],
            torn_bytes=0,
            torn_sha256="00" * 32,
            facts={},
        )
        self.write(OwnRecord(event="boot", time=self.tick(), boot=note))

    def call(self) -> None:
        self.write(record(len(self.lines), time=self.tick()))

    def checkpoint(self) -> None:
        time = self.tick()
        note = sign_checkpoint(
            sign,
            worker=self.worker,
            size=len(self.lines),
            head=self.heads[-1],
            time=time,
            signer=SIGNER,
        )
        self.write(OwnRecord(event="checkpoint", time=time, checkpoint=note))

    def write(self, entry: AuditRecord) -> None:
        self.rewrite(encode_own(entry) if isinstance(entry, OwnRecord) else encode(entry))

    def rewrite(self, body: bytes) -> None:
        seq = len(self.lines) + 1
        line, head = chain.seal(body, seq=seq, prev=self.heads[-1], chain_key=CHAIN_KEY)
        self.lines.append(line)
        self.heads.append(head)

    def tick(self) -> str:
        self.moment += timedelta(seconds=1)
        return rfc3339(self.moment)

    def calls(self, count: int, *, every: int = 5) -> "Scribe":
        for number in range(count):
            self.call()
            if number % every == every - 1:
                self.checkpoint()
        return self


def put(directory: Path, data: bytes, *, worker: int = 0) -> Path:
    directory.mkdir(mode=0o700, exist_ok=True)
    path = worker_path(directory, worker)
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def judge(data: bytes, **options: object) -> Report:
    with tempfile.TemporaryDirectory() as name:
        put(Path(name), data)
        return verify(Path(name), chain_key=CHAIN_KEY, public_key=PUBLIC, **options)


def kinds(report: Report) -> set[str]:
    return {fault.kind for worker in report.workers for fault in worker.faults}


@st.composite
def logs(draw: st.DrawFn) -> Scribe:
    """A log of some lives, each with calls and checkpoints."""
    scribe = Scribe()
    for _ in range(draw(st.integers(1, 3))):
        scribe.boot()
        scribe.calls(draw(st.integers(1, 12)), every=draw(st.integers(2, 6)))
    return scribe


def ends(scribe: Scribe) -> set[bytes]:
    """Every beginning of the file that ends with a line."""
    return {b"".join(scribe.lines[:count]) for count in range(len(scribe.lines) + 1)}
