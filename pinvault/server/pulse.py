"""What a worker tells its supervisor, one byte at a time."""

from enum import Enum


class Pulse(bytes, Enum):
    """A beat. READY comes once, when the worker listens; the others tell how it is."""

    READY = b"R"
    SERVING = b"+"
    AILING = b"-"
    HUNG = b"H"
