"""Rapyd's signature of a request, and how long it is good.

    signature = BASE64(HEX(HMAC-SHA256(secret_key,
        method + path + salt + timestamp + access_key + secret_key + body)))

The method is in lower case, the path begins with /v1 and has its query, the body is as it was sent.
BASE64 is taken over the text of the hex digits.

Rules:
- Nobody is told whether it was the access key or the signature.
- A signature is good for 60 seconds, and for one request. What is signed has no marks between its
  parts, so that one signature fits several ways to cut path, salt and time: the signature itself is
  remembered, in the one spelling that is taken.
- A timestamp has no leading zeros.
"""

import base64
import hashlib
import hmac
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pinvault.edge import credentials
from pinvault.edge.credentials import Credentials, same
from pinvault.edge.dialect import Arrived, EdgeReason, Refused

ACCESS_KEY, SALT, TIMESTAMP, SIGNATURE = "access_key", "salt", "timestamp", "signature"
WINDOW_S: Final = 60
AHEAD_S: Final = 5
SLOTS: Final = 65_536
_SALT: Final = re.compile(r"[!-~]{8,16}")
_TIMESTAMP: Final = re.compile(r"0|[1-9][0-9]{0,11}")


class Caller(credentials.Caller, frozen=True, kw_only=True):
    """A caller, by the keys that it signs with."""

    access_key: credentials.Secret
    secret_key: credentials.Secret


def sign(arrived: Arrived, *, salt: str, timestamp: str, access_key: str, secret_key: str) -> str:
    """Give the signature that a request must have."""
    head = arrived.method.lower() + arrived.raw_path_and_query
    text = head + salt + timestamp + access_key + secret_key
    signed = hmac.new(secret_key.encode(), text.encode() + arrived.body, hashlib.sha256)
    return base64.b64encode(signed.hexdigest().encode()).decode()


@dataclass(slots=True)
class Spent:
    """The signatures that were used and are still good."""

    now: Callable[[], float]
    slots: int = SLOTS
    _until: OrderedDict[str, float] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def spend(self, signature: str) -> None:
        """Remember a signature for as long as it could be good, or refuse it."""
        with self._lock:
            now, known = self.now(), self._until
            while known and next(iter(known.values())) < now:
                known.popitem(last=False)
            if signature in known:
                raise Refused(EdgeReason.SIGNATURE_REFUSED)
            if len(known) >= self.slots:
                raise Refused(EdgeReason.UNAVAILABLE)
            known[signature] = now + AHEAD_S + WINDOW_S


def authenticate(arrived: Arrived, callers: Credentials[Caller], spent: Spent) -> Caller:
    """Give the caller who signed a request, now and for this once."""
    access_key, salt, timestamp, signature = (
        arrived.header(name) for name in (ACCESS_KEY, SALT, TIMESTAMP, SIGNATURE)
    )
    if not _TIMESTAMP.fullmatch(timestamp):
        raise Refused(EdgeReason.HEADER_MISSING)
    if not _SALT.fullmatch(salt):
        raise Refused(EdgeReason.SIGNATURE_REFUSED)

    def signed(caller: Caller) -> bool:
        wanted = sign(
            arrived,
            salt=salt,
            timestamp=timestamp,
            access_key=caller.access_key,
            secret_key=caller.secret_key,
        )
        return same(access_key, caller.access_key) & same(signature, wanted)

    caller = callers.matching(signed, reason=EdgeReason.SIGNATURE_REFUSED)
    if not -AHEAD_S <= spent.now() - int(timestamp) <= WINDOW_S:
        raise Refused(EdgeReason.TIMESTAMP_REFUSED)
    spent.spend(signature)
    return caller
