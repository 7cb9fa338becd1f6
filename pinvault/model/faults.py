"""Faults of our own, told by kind and place: never by text, values or chain."""

import traceback


def frames_of(error: BaseException) -> tuple[str, ...]:
    """Give `module.py:line function` of each frame, outermost first."""
    return tuple(
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    )


class ClearedFault(Exception):
    """A fault whose frames held what must not leave: its kind and its places, as text."""

    def __init__(self, kind: str, frames: tuple[str, ...]) -> None:
        super().__init__("a fault in the clear zone")
        self.kind = kind
        self.frames = frames

    @classmethod
    def of(cls, error: BaseException) -> "ClearedFault":
        """Take from an error what may be told of it."""
        return cls(type(error).__qualname__, frames_of(error))
