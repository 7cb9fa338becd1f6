"""The page on which cardholders set, reset or change a PIN, and the calls that it makes.

A program's server has a session made (CreatePinSession, or HashDT's requests) and sends its
cardholder to `PUBLIC_URL/pin/PROGRAM/ACTION#SESSION_ID.SECRET`, mostly in a frame. The page opens
the session, seals the PIN in the browser, and submits the envelope:

    page      documents and files, made at the start: no session in them
    sessions  POST /pin/open, POST /pin/submit, GET /jwks.json
    headers   what the browser is told to hold the page to
    themes    how a program's page looks
    codes     what the page is told of a refusal
    static/   the page itself; catalogue/ its texts; themes/ to begin with

Rules:
- The fragment of an address never leaves the browser: the secret comes in one body, once.
- No clear PIN ever comes here.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from pinvault.client import Vault
from pinvault.edge.dialect import Answer, Arrived, Endpoint, Refused
from pinvault.edge.hosted.codes import CODES, render
from pinvault.edge.hosted.page import Documents
from pinvault.edge.hosted.sessions import Sessions
from pinvault.edge.log import Log
from pinvault.edge.sections import HostedPage


class Hosted:
    """The page, served as a dialect is."""

    name = "hosted"
    codes = CODES

    def __init__(self, documents: Documents, sessions: Sessions) -> None:
        self._endpoints = (*documents.endpoints(), *sessions.endpoints())

    def endpoints(self) -> Sequence[Endpoint]:
        """Give all that it answers."""
        return self._endpoints

    def render(self, refused: Refused, arrived: Arrived) -> Answer:
        """Say a refusal to the page."""
        return render(refused, arrived)


def build(
    page: HostedPage,
    vault: Vault,
    *,
    now: Callable[[], float],  # noqa: ARG001 - a session's time is the server's
    log: Log,  # noqa: ARG001 - what there is to tell, the core tells
    folder: Path,
) -> Hosted:
    """Build it; files that the settings name are below `folder`."""
    return Hosted(Documents(page, folder=folder), Sessions(page, vault))
