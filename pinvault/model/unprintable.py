"""What holds a secret: it cannot be printed, compared, hashed, pickled or copied.

Rules:
- Whatever would show it shows its name in its place; whatever would compare or copy it is a
  TypeError of constant text.
- The secret itself is the business of each kind, as is the one door that opens it.
"""

from typing import ClassVar, NoReturn


class Unprintable:
    """The base of every kind of secret. `NAME` is what stands in the secret's place."""

    __slots__ = ()

    NAME: ClassVar[str]

    def __repr__(self) -> str:
        return f"<{self.NAME}>"

    def __str__(self) -> str:
        return f"<{self.NAME}>"

    def __format__(self, spec: str) -> str:
        return f"<{self.NAME}>"

    def __eq__(self, other: object) -> NoReturn:
        self._forbid("compared with ==")

    def __ne__(self, other: object) -> NoReturn:
        self._forbid("compared with !=")

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> NoReturn:
        self._forbid("tested for truth")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self._forbid("pickled or copied")

    def __getstate__(self) -> NoReturn:
        self._forbid("pickled or copied")

    def __copy__(self) -> NoReturn:
        self._forbid("pickled or copied")

    def __deepcopy__(self, memo: object) -> NoReturn:
        self._forbid("pickled or copied")

    def _forbid(self, what: str) -> NoReturn:
        raise TypeError(f"a {self.NAME} is not to be {what}")
