"""Who may call a dialect, by what its vendor's scheme asks for.

    [[caller]]
    name = "acme-issuing"
    programs = ["debit"]
    api_key_sha256 = "9f86d081884c7d65…"

Rules:
- A secret that is only compared is kept as SHA-256 (an option `…_sha256`, lower-case hex); it is
  made by a generator, not by a person. One that makes signatures is kept as it is.
- What a request shows is compared with that of every caller, without an early end, by
  `hmac.compare_digest`.
- Nobody is told whether it was the name or the secret. No caller is printed but by its name.
- A caller may stand there twice, while its secret changes.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from msgspec import Meta

from pinvault.edge.dialect import EdgeReason, Refused
from pinvault.edge.files import EdgeError, Section, into, read_toml

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,30}\Z")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Secret = Annotated[str, Meta(min_length=8, max_length=256)]
EXAMPLE = "the credentials in edge.example.toml"
_SUFFIX = "_sha256"


class Caller(Section, frozen=True, kw_only=True):
    """A caller; a dialect's own kind has its secrets besides."""

    name: Name
    programs: Annotated[tuple[Name, ...], Meta(min_length=1)]

    def __repr__(self) -> str:
        return f"<caller {self.name}>"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        """Keep rich from looking inside."""
        return [("name", self.name)]

    def require(self, program: str) -> None:
        """Refuse a caller to whom a program is not open."""
        if program not in self.programs:
            raise Refused(EdgeReason.NOT_AUTHORISED)


AnyCaller = TypeVar("AnyCaller", bound=Caller)


class Credentials(Generic[AnyCaller]):
    """The callers of one dialect."""

    def __init__(self, callers: Sequence[AnyCaller]) -> None:
        self._callers = tuple(callers)

    def __repr__(self) -> str:
        return f"<credentials of {len(self._callers)} callers>"

    def shown(self, **presented: str) -> AnyCaller:
        """Give the caller whose secrets these are, by the name of each without `_sha256`.

        `credentials.shown(api_key=…, bearer=…)` looks at `api_key_sha256` and `bearer_sha256`.
        """
        return self.matching(lambda caller: _are(presented, caller))

    def matching(
        self, is_it: Callable[[AnyCaller], bool], *, reason: EdgeReason = EdgeReason.UNAUTHENTICATED
    ) -> AnyCaller:
        """Give the caller of whom a test that takes constant time is true; all are asked."""
        found: AnyCaller | None = None
        for caller in self._callers:
            if is_it(caller):
                found = caller
        if found is None:
            raise Refused(reason)
        return found


def same(one: str, other: str) -> bool:
    """Compare texts in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def is_digest_of(digest: str, presented: str) -> bool:
    """Tell whether a digest, as credentials keep it, is that of what was presented."""
    return same(hashlib.sha256(presented.encode()).hexdigest(), digest)


def load(path: Path, kind: type[AnyCaller]) -> Credentials[AnyCaller]:
    """Read a file of credentials, which must be its owner's alone."""
    data = read_toml(path, secret=True)
    if data.keys() != {"caller"}:
        raise EdgeError(path, "", f"is a list of [[caller]], and nothing else: see {EXAMPLE}")
    callers = into(
        tuple[kind, ...],  # type: ignore[valid-type]
        data["caller"],
        path=path,
        option="caller",
        example=EXAMPLE,
    )
    if not callers:
        raise EdgeError(path, "caller", "names nobody: add a [[caller]], or remove the dialect")
    return Credentials(callers)


def _are(presented: dict[str, str], caller: Caller) -> bool:
    matches = [
        is_digest_of(getattr(caller, name + _SUFFIX), value) for name, value in presented.items()
    ]
    return bool(matches) and all(matches)
