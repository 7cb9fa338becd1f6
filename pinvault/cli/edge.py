"""`pinvault edge`: the APIs of issuers' vendors over HTTP, as a process of its own.

Its configuration is its own too: it may run where nothing else of pinvault does.
"""

import sys
from pathlib import Path

import click

from pinvault.cli.common import F
from pinvault.edge.log import make_log
from pinvault.edge.serve import check as look
from pinvault.edge.serve import run
from pinvault.edge.settings import load
from pinvault.server.hardening import harden, weaknesses


class _Edge(click.Group):
    """A group whose first argument may be a configuration in place of a command: it is served."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["serve", *args]
        return super().resolve_command(ctx, args)


def _configuration(command: F) -> F:
    """Take the edge's configuration file as the command's first argument."""
    return click.argument(
        "edge_file", envvar="PINVAULT_EDGE_CONFIG", type=click.Path(path_type=Path, dir_okay=False)
    )(command)


@click.group(cls=_Edge, no_args_is_help=True)
def edge() -> None:
    """Serve the issuers' APIs over HTTP: `pinvault edge EDGE.toml`."""


@edge.command()
@_configuration
def serve(edge_file: Path) -> None:
    """Serve until SIGTERM."""
    loaded = load(edge_file.absolute())
    harden()
    log = make_log(worker="edge")
    missing = weaknesses()
    if missing and loaded.settings.mode == "production":
        raise loaded.wrong("mode", f"a protection is missing: {'; '.join(missing)}")
    for weakness in missing:
        log.warning("protection missing", weakness=weakness)
    sys.exit(run(loaded, log))


@edge.command()
@_configuration
def check(edge_file: Path) -> None:
    """Read all files that the edge would, and say whether it would start; nothing is called."""
    loaded = load(edge_file.absolute())
    paths = look(loaded, make_log(worker="edge"))
    click.echo(
        f"{edge_file}: good: {len(loaded.settings.listeners)} listeners, "
        f"{len(loaded.dialects)} dialects, {paths} paths"
    )
