"""Rapyd: `POST /v1/issuing/cards/pin`.

A caller signs its request (see `auth`). `card` is the card's external id, such as `card_f8dd3aa0…`,
in the program of the dialect, or its number there. The facts file has what an answer tells of the
card; `status`, `card_id` and `created_at` are the PIN vault's own. So is `id`, which no fact may
say: `ci_` and the first 32 hex digits of the SHA-256 of the card's id in the PIN vault, as in the
webhook ISSUED_CARD_PIN_SET. The webhook's `trigger_operation_id` is the answer's `operation_id`.

What the vendor's documents leave open, and what was chosen:
- Codes: `MISSING_AUTHENTICATION_HEADERS`, `UNAUTHENTICATED_API_CALL`, `UNAUTHORIZED_API_CALL` (of
  paths and methods that there are not, too: 401) and `ERROR_SET_PIN_SERVICE_NOT_AVAILABLE` are the
  vendor's; the others are made after its pattern. Its documents know 400 and 401; 403 is nowhere,
  and 413, 429, 500 and 503 say what they do in HTTP.
- A salt has 8 to 16 printable characters. A good signature is not taken a second time, however its
  parts are cut. A timestamp has no leading zeros, and may be 5 s ahead. Which signatures were used
  is known to one process alone.
- `idempotency`: for 24 hours its caller gets the same answer for the same header and card, whatever
  else the request says; a refused request frees the header. Answers are kept in the memory of one
  process. In another, and after a restart, the server knows the header too, and the request is 400
  `ERROR_IDEMPOTENCY_KEY_REUSED`: the first was done, or is under way. Used for another card, it is
  that at once.
- `new_pin` is a text of digits; how many, the program says. With `sandbox = true` 1111 is refused;
  without, the program's rules for new PINs decide.
- A card that is not active yet is `INA`; suspended and closed ones are `BLO`.
- Unknown members are passed over.
"""

from pinvault.edge.rapyd.auth import Caller
from pinvault.edge.rapyd.flow import Options, Rapyd

build = Rapyd

__all__ = ["Caller", "Options", "Rapyd", "build"]
