"""The sections of the edge's configuration that dialects see; the others stand in `settings`."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta

from pinvault.edge.credentials import Name
from pinvault.edge.files import Section
from pinvault.edge.rates import PATTERN

RateText = Annotated[str, Meta(pattern=PATTERN)]
Origin = Annotated[
    str, Meta(pattern=r"^(https://[a-z0-9.-]+|http://(localhost|127\.0\.0\.1))(:[0-9]{1,5})?\Z")
]
BasePath = Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._-]+)*\Z")]
Language = Literal["en", "fr", "ar"]


class Options(Section, frozen=True, kw_only=True):
    """`[dialects.NAME]`: what all dialects have; a dialect adds options of its own.

    `program` is the card program, by its name on the server. `base_path` stands before the
    vendor's paths.
    """

    kind: str
    listener: Name
    program: Name
    credentials_file: str
    facts_file: str | None = None
    base_path: BasePath = ""
    per_caller: RateText = "50/s"
    per_card: RateText = "30/m"


class PinLength(Section, frozen=True, kw_only=True):
    """How many digits a PIN has."""

    minimum: Annotated[int, Meta(ge=4, le=12)]
    maximum: Annotated[int, Meta(ge=4, le=12)]


class PageProgram(Section, frozen=True, kw_only=True):
    """`[hosted.programs.NAME]`: who may embed the page, and how it looks and speaks.

    The first language is for who wants none of them. `theme_file` is JSON. With `pin_length`, as
    the server has it, the page asks for PINs while its session is still being opened.
    """

    origins: Annotated[tuple[Origin, ...], Meta(min_length=1)]
    pin_length: PinLength | None = None
    theme_file: str | None = None
    languages: Annotated[tuple[Language, ...], Meta(min_length=1)] = ("en", "fr", "ar")


class HostedPage(Section, frozen=True, kw_only=True):
    """`[hosted]`: the page on which cardholders enter PINs. `public_url` is as browsers see it.

    `per_address` counts what comes from one address (of IPv6: one /64), `per_session` what names
    one session.
    """

    listener: Name
    public_url: Origin
    per_session: RateText = "30/m"
    per_address: RateText = "600/m"
    programs: Annotated[Mapping[Name, PageProgram], Meta(min_length=1)]
