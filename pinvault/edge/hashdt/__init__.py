"""HashDT: `GET /issuing/api/v1/card/setpin`, `resetpin` and `changepin`.

Each gives the address of a page for an iframe, on which the cardholder sets, resets or changes the
PIN of one card. It is the hosted page of this edge: `PUBLIC_URL/pin/PROGRAM/ACTION#SESSION`. What
opens the session stands behind the `#`, where no server and no log sees it.

What the vendor's documents leave open, and what was chosen:
- `x-request-id` is the idempotency key: while a session is good, its caller gets the same answer
  for the same id, path and card, also when the page has used the session up. Another request under
  the id is 400. Answers are kept in the memory of one process: elsewhere, and after a restart, the
  same id gets a session of its own, which harms nobody.
- The page may be embedded by one origin: the one of the caller's credentials, else the first of the
  program's (`[hosted.programs.NAME]`).
- `x-card-id` is the card's external id. Products, cardholders and wallets are unknown to a PIN
  vault: their headers must be there, as must `Content-Type: application/json`, and are passed over.
- An error's `code` is its HTTP status. 400 is the one that is documented, and names a header that
  is missing; without a right key and token it is 401, for who may not 403, and 404, 405, 413, 429,
  500 and 503 say what they do in HTTP.
- `v1` is the one version.
"""

from pinvault.edge.hashdt.flow import Caller, HashDt, Options

build = HashDt

__all__ = ["Caller", "HashDt", "Options", "build"]
