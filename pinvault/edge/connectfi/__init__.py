"""PayGears ConnectFi: `POST /ibis/card/set-pin` and `POST /ibis/card/check-pin`.

A caller shows its token in `x-connectfi-token`. A card is found by its external id, `cFiCardId`,
in the program of the dialect. Answers tell of the card what the facts file has; `cFiCardId` and
`cFiStatus` (`Complete`) are the edge's own.

What the vendor's documents leave open, and what was chosen:
- Tokens: the vendor gives them out, for a while, at `/auth/get-token`. Here the operator gives a
  caller one, which is good until it is taken out of the credentials. A missing token and a wrong
  one are the vendor's 401 `unauthorized`, with a `requestId` as its other errors have it.
- Schema faults: the vendor's sample shows one fault and no `message` beside it. So the context is
  the first fault that Ajv comes upon (it stops there unless told otherwise), in Ajv's order:
  body, missing members, `cFiCardId`, `pin`. Paths are written as if the schema stood in one piece.
  What is no JSON at all is told as a body that is no object.
- Unknown members: the schemas do not forbid any, so they are passed over.
- A wrong PIN: no code is documented; it is 400 `ibisCheckPinMismatch`. The try that uses up the
  last one is already told as `ibisCheckPinCardLocked`, whose `maxAttempts` and `until` are left
  out: a block of this server has no end but unblocking, and set-pin does not lift it.
- A card in another status: 400 `ibisCardStatusError`, with the card's id alone. No PIN yet:
  `ibisPinNotSet`. A PIN that the program's rules forbid: `ibisPinNotAllowed`.
- Everything else has a code after the vendor's pattern and a status of HTTP's (403, 404, 405, 413,
  429, 500, 503) where the vendor speaks of 400 alone, so that clients and proxies know what to
  repeat.
"""

from pinvault.edge.connectfi.flow import Caller, ConnectFi, Options

build = ConnectFi

__all__ = ["Caller", "ConnectFi", "Options", "build"]
