"""`pinvault serve`: the supervisor and its workers."""

import os
import shutil
import signal
import sys
from pathlib import Path

import click
from prometheus_client.multiprocess import mark_process_dead

from pinvault.cli.common import config_argument
from pinvault.config import Loaded, load, split_address
from pinvault.server import admin, core_log
from pinvault.server.hardening import allocator_scrubs, harden, with_allocator
from pinvault.server.logs import make_log
from pinvault.server.supervisor import Patience, Supervisor, hold_port

NOTICE = "serving.json"


@click.command()
@config_argument
def serve(config_file: Path) -> None:
    """Serve until SIGTERM."""
    loaded = load(config_file.absolute())
    harden()
    sys.exit(_supervise(loaded))


def _supervise(loaded: Loaded) -> int:
    config = loaded.config
    log = make_log(count=lambda: None, worker="supervisor")
    if not allocator_scrubs(os.environ):
        log.warning("protection missing", weakness="the allocator does not overwrite freed memory")
    state = loaded.file(config.state.directory)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    metrics = state / "metrics"
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir(mode=0o700)
    (state / NOTICE).unlink(missing_ok=True)

    host, port = split_address(config.server.listen)
    held = hold_port(host, port)
    port = held.getsockname()[1]

    def command(index: int, pulse_fd: int) -> list[str]:
        arguments = ["--index", str(index), "--pulse-fd", str(pulse_fd), "--port", str(port)]
        return [sys.executable, "-m", "pinvault", "worker", str(loaded.path), *arguments]

    supervisor = Supervisor(
        count=config.server.workers,
        command=command,
        environment={
            **with_allocator(os.environ),
            **core_log.VERBOSITY,
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        },
        patience=Patience(stop_s=config.server.grace_s + 5),
        notice=state / NOTICE,
        facts={"host": host, "port": port},
        on_end=lambda pid: mark_process_dead(pid, str(metrics)),  # type: ignore[no-untyped-call]
        log=log,
    )
    admin_host, admin_port = split_address(config.admin.listen)
    bound = admin.serve(
        host=admin_host,
        port=admin_port,
        ready=lambda: supervisor.ready,
        metrics_directory=str(metrics),
    )
    supervisor.facts["admin_port"] = bound
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    try:
        return supervisor.run()
    finally:
        held.close()


@click.command(hidden=True)
@config_argument
@click.option("--index", type=int, required=True)
@click.option("--pulse-fd", type=int, required=True)
@click.option("--port", type=int, required=True)
def worker(config_file: Path, index: int, pulse_fd: int, port: int) -> None:
    """Serve as one worker; started by the supervisor."""
    from pinvault import bootstrap

    loaded = load(config_file)
    bootstrap.build_worker(loaded, index=index, pulse_fd=pulse_fd, port=port).run()
