"""`pinvault audit verify` and `pinvault audit tail`: the record, checked and read."""

import re
import time
from pathlib import Path

import click
import msgspec

from pinvault import bootstrap
from pinvault.audit.record import Entry
from pinvault.audit.tail import Tailed, follow, newest
from pinvault.audit.verify import Report, verify
from pinvault.cli.common import config_argument, json_option, show
from pinvault.config import Loaded, load

TAMPERED = 1
COLUMNS = (
    "Worker",
    "Records",
    "First",
    "Last",
    "Checkpoints",
    "Unsigned",
    "Restarts",
    "Verdict",
)


@click.group()
def audit() -> None:
    """Look at the audit log."""


@audit.command(name="verify")
@config_argument
@click.option(
    "--expect",
    multiple=True,
    callback=lambda _context, _option, values: dict(map(_head, values)),
    metavar="WORKER:SIZE:HASH",
    help="A head noted earlier: finds a log that was cut back since.",
)
@json_option
@click.pass_context
def verify_log(
    context: click.Context, config_file: Path, expect: dict[int, tuple[int, str]], as_json: bool
) -> None:
    """Check every record's place in its chain and every signature; end with 1 on a fault."""
    loaded = load(config_file.absolute())
    report = _verify(loaded, expect)
    rows = [
        (
            str(worker.worker),
            str(worker.records),
            worker.first_time,
            worker.last_time,
            f"{worker.checkpoints_good} good, {worker.checkpoints_bad} bad",
            str(worker.unsigned),
            str(worker.restarts),
            f"{len(worker.faults) + worker.more_faults} faults" if worker.faults else "intact",
        )
        for worker in report.workers
    ]
    show("Audit log", COLUMNS, rows, as_json=as_json)
    for worker in report.workers:
        for fault in worker.faults:
            click.echo(f"{worker.path}:{fault.line}: {fault.kind}: {fault.remedy}", err=True)
    if not as_json:
        for number, (size, head) in report.heads.items():
            click.echo(f"head of worker {number}, to be kept elsewhere: {number}:{size}:{head}")
    if not report.ok:
        context.exit(TAMPERED)


def _head(text: str) -> tuple[int, tuple[int, str]]:
    """Read WORKER:SIZE:HASH."""
    match = re.fullmatch("([0-9]{1,4}):([0-9]{1,15}):([0-9a-f]{64})", text)
    if match is None:
        raise click.BadParameter("give WORKER:SIZE:HASH, as an earlier verify printed it")
    return int(match[1]), (int(match[2]), match[3])


def _verify(loaded: Loaded, expect: dict[int, tuple[int, str]]) -> Report:
    ring = bootstrap.read_keyring(loaded)
    directory = bootstrap.key_directory(ring)
    device = bootstrap.open_device(loaded, ring)
    try:
        index = bootstrap.active_key(loaded, directory, "index")
        signer = bootstrap.active_key(loaded, directory, "audit_signing")
        return verify(
            loaded.file(loaded.config.audit.directory),
            chain_key=bootstrap.Secrets.derive(device, index.id).audit_chain,
            public_key=device.public_key(signer.id),
            expect=expect,
        )
    finally:
        device.close()


@audit.command()
@config_argument
@click.option("-n", "--count", default=10, show_default=True, help="How many records.")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with what is added.")
def tail(config_file: Path, count: int, following: bool) -> None:
    """Print the newest records of all workers, one JSON line each."""
    loaded = load(config_file.absolute())
    directory = loaded.file(loaded.config.audit.directory)
    records = (
        follow(directory, count=count, sleep=time.sleep)
        if following
        else iter(newest(directory, count=count))
    )
    for record in records:
        click.echo(line_of(record))


def line_of(tailed: Tailed) -> str:
    """Give a record as one line of JSON, with the worker that wrote it."""
    entry: Entry = tailed.entry
    return msgspec.json.encode({"worker": tailed.worker, **msgspec.to_builtins(entry)}).decode()
