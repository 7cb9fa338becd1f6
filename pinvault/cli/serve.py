"""`pinvault serve`: the supervisor and its workers."""

import fcntl
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import click
from prometheus_client.multiprocess import mark_process_dead

from pinvault.cli.common import config_argument
from pinvault.config import ConfigError, Loaded, load, split_address
from pinvault.server import admin, core_log
from pinvault.server.hardening import allocator_scrubs, harden, with_allocator
from pinvault.server.logs import Log, make_log
from pinvault.server.supervisor import Patience, Supervisor, hold_port

NOTICE = "serving.json"
OWN_KEYS, KEY_PURPOSES = "own-keys", "key-purposes"


@click.command()
@config_argument
def serve(config_file: Path) -> None:
    """Serve until SIGTERM."""
    loaded = load(config_file.absolute())
    harden()
    sys.exit(_supervise(loaded))


def _supervise(loaded: Loaded) -> int:
    """Hold what only one server may, for as long as it runs; give the exit code."""
    log = make_log(count=lambda: None, worker="supervisor")
    if not allocator_scrubs(os.environ):
        log.warning("protection missing", weakness="the allocator does not overwrite freed memory")
    state = loaded.file(loaded.config.state.directory)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as held:
        held.enter_context(_only_one(loaded, state))
        for of_the_last_server in (NOTICE, OWN_KEYS, KEY_PURPOSES):
            (state / of_the_last_server).unlink(missing_ok=True)
        metrics = held.enter_context(_metrics_directory(state))
        port = held.enter_context(hold_port(*split_address(loaded.config.server.listen)))
        supervisor = _supervisor(loaded, log, metrics=metrics, port=port.getsockname()[1])
        admin_host, admin_port = split_address(loaded.config.admin.listen)
        supervisor.facts["admin_port"] = admin.serve(
            host=admin_host,
            port=admin_port,
            ready=lambda: supervisor.ready,
            registry=admin.shared_registry(metrics),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, supervisor.stop)
        return supervisor.run()


def _supervisor(loaded: Loaded, log: Log, *, metrics: str, port: int) -> Supervisor:
    config = loaded.config

    def command(index: int, pulse_fd: int) -> list[str]:
        arguments = ["--index", str(index), "--pulse-fd", str(pulse_fd), "--port", str(port)]
        arguments += ["--digest", loaded.sha256]
        return [sys.executable, "-m", "pinvault", "worker", str(loaded.path), *arguments]

    return Supervisor(
        count=config.server.workers,
        command=command,
        environment={
            **with_allocator(os.environ),
            **core_log.VERBOSITY,
            "PROMETHEUS_MULTIPROC_DIR": metrics,
        },
        patience=Patience(stop_s=config.server.grace_s + 5),
        notice=loaded.file(config.state.directory) / NOTICE,
        facts={"host": split_address(config.server.listen)[0], "port": port},
        on_end=lambda pid: mark_process_dead(pid, metrics),  # type: ignore[no-untyped-call]
        log=log,
    )


def _only_one(loaded: Loaded, state: Path) -> BinaryIO:
    """Hold the state directory, or say that another server does."""
    turn = (state / "serve.lock").open("ab")
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        turn.close()
        text = "another server uses this directory: stop it, or give this one its own"
        raise ConfigError(loaded.path, "state.directory", text) from None
    return turn


def _metrics_directory(state: Path) -> "tempfile.TemporaryDirectory[str]":
    """Make a folder for the workers' metrics, in memory where there is some.

    They are memory-mapped and grow: on a full disk the first write to a new page would
    end a worker with SIGBUS.
    """
    shared = Path("/dev/shm")  # noqa: S108 - the folder made in it is private
    above = shared if os.access(shared, os.W_OK) else state
    return tempfile.TemporaryDirectory(
        prefix="pinvault-metrics-", dir=above, ignore_cleanup_errors=True
    )


@click.command(hidden=True)
@config_argument
@click.option("--index", type=int, required=True)
@click.option("--pulse-fd", type=int, required=True)
@click.option("--port", type=int, required=True)
@click.option("--digest", required=True)
def worker(config_file: Path, index: int, pulse_fd: int, port: int, digest: str) -> None:
    """Serve as one worker; started by the supervisor.

    All workers serve by one configuration. The key ring may have gone on since the server
    started, as it has for the workers that saw it go.
    """
    from pinvault.bootstrap.worker import build_worker

    loaded = load(config_file)
    if loaded.sha256 != digest:
        text = "the configuration changed since the server started: restart it to take it"
        raise ConfigError(loaded.path, "", text)
    build_worker(loaded, index=index, pulse_fd=pulse_fd, port=port).run()
