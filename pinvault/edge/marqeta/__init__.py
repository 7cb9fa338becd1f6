"""Marqeta Core API, PINs: `POST /pins/controltoken`, `PUT /pins`, `POST /pins/reveal`.

All three are there with and without `/v3` before the path. A caller shows its application token
and its access token by HTTP Basic. A card is found by its external id, `card_token`, in the program
of the dialect. Control tokens are the server's own: random UUIDs for one use, the newest of a card
and type alone, for as long as the program says (60 and 5 minutes unless it says otherwise).

What the vendor's documents leave open, and what was chosen:
- Codes: the vendor's number is used where its documents tell it (`404001`, `400985`); elsewhere a
  code is the status with `000` after it. The body of an error is told by its documents in general,
  so that every error has it, those of authentication and routing too.
- A card that is not there: 404 `404001`, although the page of control tokens lists 400 and 403.
- Card tokens are external ids of pinvault: letters, digits and `._:-`, and not digits alone, which
  could be a PAN. Every other is told as a card that is not there.
- A control token that is unknown, used, replaced, expired, of the other type, of another program or
  no token at all is one answer: 400 `400000`, "Control token is invalid".
- A PIN that was refused does not use up its token; a revealed one does.
- Unknown members are passed over; a `pin` that is a number, or not of four digits, is 400.
- The vendor's machine-readable description gives 204 for a reveal, its page 200 and `{"pin": …}`:
  it is 200. A PIN of more than six digits is revealed as it is.
- Where reveals are off, as they are without `reveal = true`, tokens for them are 403 and reveals
  400. Suspended cards are not revealed: no list of allowed reasons is kept.
"""

from pinvault.edge.marqeta.flow import Caller, Marqeta, Options

build = Marqeta

__all__ = ["Caller", "Marqeta", "Options", "build"]
