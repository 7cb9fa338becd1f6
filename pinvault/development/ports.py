"""Ports that nothing listens on."""

import socket


def free_port() -> int:
    """Give one: the hosted page's address must be known before the edge runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port
