"""Interswitch: `POST /card-management/api/v1/card/changePin` and `…/card/reissue-pin`.

A caller shows a bearer token. A card is found by PAN and sequence number, in the program of the
dialect, and must expire when the request says: else it is "No result found", as a card that is not
there. `pin` and `oldPin` are RSA ciphertexts in hex; they go to the server as they are, under its
incoming profile `pin_profile`, and nothing is opened here. With `oldPin` a PIN is changed, without
it it is set. A reissued PIN comes back under the key of the caller's `reissue_profile`.

What the vendor's documents leave open, and what was chosen:
- Routing: there are no two systems behind this one. `isActiveActive` (required for changePin) tells
  whether `oldPin` is required; `active_active_only = true` overrides it by true. For reissue-pin it
  changes nothing.
- Codes: `00`, `10400`, `10404` and `10500` are the vendor's, the others are 10 and the HTTP status
  after that pattern. Each has the HTTP status that its last digits say.
- `errors`: an array of `code` and `message`, in which the code is that of ISO 8583, as Postilion
  has it: 30 for a field (which is named), 55 for a wrong PIN, 62 for a card's status, 75 for a PIN
  without tries. A wrong `oldPin` is 10400 with 55, the try that uses up the last one with 75.
- `cvv2` is looked at for its form alone: a PIN vault neither has nor keeps it. `userId`,
  `accountType`, `rid`, `issuerNr`, `customerId` and `mobileNr` are passed over likewise.
- Blank optional members, and null ones, are as if they were not there; unknown ones too.
- A field is good once: a request that is sent again is 10400. A reissue that is made again gives
  another PIN, which is then the card's.
- `pinOffset` is in the answer where the program verifies by an offset, and else is left out.
"""

from pinvault.edge.interswitch.flow import Caller, Interswitch, Options

build = Interswitch

__all__ = ["Caller", "Interswitch", "Options", "build"]
