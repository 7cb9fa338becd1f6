"""Cards by what their vendor's callers call them.

Rules:
- What cannot be a card's external id (digits alone may be a PAN) is a card that is not there: it is
  neither looked for nor repeated.
"""

import re
from typing import Final

from pinvault.client import ExternalId
from pinvault.edge.dialect import Refused

_LENGTH: Final = 64
_FORM: Final = re.compile(r"[0-9]*[A-Za-z._:-][0-9A-Za-z._:-]*")


def external_card(program: str, external_id: str) -> ExternalId:
    """Name a card of a program by its external id, or refuse with CARD_UNKNOWN."""
    if len(external_id) > _LENGTH or not _FORM.fullmatch(external_id):
        raise Refused("CARD_UNKNOWN")
    return ExternalId(program=program, external_id=external_id)
