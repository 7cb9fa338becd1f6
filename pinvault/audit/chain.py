"""The line format: one JSON object a line, each bound to the line before by a keyed hash.

Rules kept here:
- A line is `{"seq":N,"prev":"…", the record's members, "hash":"…"}` and a newline.
- `hash` is HMAC-SHA256 under the chain key over the exact bytes of the line without its `hash`
  member, so there is no second spelling of a line that verifies.
- The first line's `prev` is bound to the worker: one worker's file is not another's.
- No line is longer than `MAX_LINE` bytes, so whoever reads needs no more memory than that.
"""

import hashlib
import hmac

import msgspec

from pinvault.audit.record import Entry, require_moment

MAX_LINE = 8192
"""The longest line, newline included, in bytes."""

KEY_BYTES = 32
"""Length of the chain key."""

_HASH_MEMBER = b',"hash":"'
_TAIL = len(_HASH_MEMBER) + 64 + len(b'"}')
_ENTRIES = msgspec.json.Decoder(Entry)


class LineError(Exception):
    """A line is not one that a holder of the chain key wrote."""


def genesis(worker: int, *, chain_key: bytes) -> str:
    """Give the `prev` of a worker's first line, in hex."""
    return _mac(chain_key, b"pinvault audit genesis v1, worker %d" % worker)


def seal(body: bytes, *, seq: int, prev: str, chain_key: bytes) -> tuple[bytes, str]:
    """Give the line of the record `body` (a JSON object) at its place, and the line's hash.

    >>> line, head = seal(b'{"event":"call"}', seq=7, prev="00", chain_key=bytes(32))
    >>> line[:38]
    b'{"seq":7,"prev":"00","event":"call","h'
    """
    unhashed = b'{"seq":%d,"prev":"%b",%b' % (seq, prev.encode(), body[1:])
    own_hash = _mac(chain_key, unhashed)
    line = b'%b%b%b"}\n' % (unhashed[:-1], _HASH_MEMBER, own_hash.encode())
    return line, own_hash


def read(line: bytes, *, chain_key: bytes) -> Entry:
    """Give the entry of an authentic line (newline included); raise `LineError` otherwise."""
    if not line.endswith(b'"}\n') or len(line) > MAX_LINE:
        raise LineError("not a whole line")
    content = line[:-1]
    claimed = content[-_TAIL:]
    if not claimed.startswith(_HASH_MEMBER):
        raise LineError("no hash at the end")
    own_hash = _mac(chain_key, content[:-_TAIL] + b"}").encode()
    if not hmac.compare_digest(own_hash, claimed[len(_HASH_MEMBER) : -2]):
        raise LineError("the hash differs")
    return read_unverified(line)


def read_unverified(line: bytes) -> Entry:
    """Give the entry that a line claims to be, for display only; raise `LineError` if none."""
    try:
        entry = _ENTRIES.decode(line)
        require_moment(entry.time)
    except (msgspec.MsgspecError, ValueError):
        raise LineError("not an entry") from None
    return entry


def require_key(chain_key: bytes) -> bytes:
    """Give back a chain key of the right length; raise ValueError otherwise."""
    if len(chain_key) != KEY_BYTES:
        raise ValueError("the chain key has 32 bytes")
    return chain_key


def _mac(chain_key: bytes, message: bytes) -> str:
    return hmac.digest(chain_key, message, hashlib.sha256().name).hex()
